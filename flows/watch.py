"""Checks the health of the schedule, in a deployment of its own: reports silence, and when it is over."""

from typing import Any

from prefect import flow, get_run_logger
from prefect.states import Failed

from flows.retraining import notifications
from flows.scheduling import crash_alerts, run_hygiene
from flows.scheduling import health as watching


@flow(name="watch")
def watch(periods: int = 2) -> Any:  # noqa: ARG001
    """periods: a parameter of the deployment, which doctor reads too."""
    for repair in run_hygiene.Reconciler().tidy():
        get_run_logger().info(repair)
    status = watching.check_and_notify(crash_alerts.tell)
    get_run_logger().info(status.words)
    if not status.ok and not notifications.has_channel():
        get_run_logger().warning("no one is notified: %s", notifications.NO_CHANNEL)
    return None if status.ok else Failed(message=status.words)
