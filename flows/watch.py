"""The rounds of the watch, deployed beside the retraining: says when that falls silent, and when it recovers."""

from typing import Any

from prefect import flow, get_run_logger
from prefect.states import Failed

from flows.retraining import notifications
from flows.scheduling import crash_alerts, run_hygiene
from flows.scheduling import health as watching


@flow(name="watch")
def watch(periods: int = 2) -> Any:
    """`periods` stands in the deployment's parameters, where doctor reads it as well."""
    for said in run_hygiene.Reconciler().tidy():
        get_run_logger().info(said)
    found = watching.check_and_notify(crash_alerts.tell)
    get_run_logger().info(found.words)
    if not found.ok and not notifications.anybody():
        get_run_logger().warning("nobody is told: %s", notifications.NOBODY)
    return None if found.ok else Failed(message=found.words)
