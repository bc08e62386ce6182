"""When to retrain and to watch: three deployments on a Prefect server that stays up, and the pool of their workers.

A deployment names no machine and no folder: whichever worker takes a run starts it in its own clone. At most one run of
each is at work. A retraining that finds another at work waits for its place (ENQUEUE), since it may be a request that
must not be lost; runs that wait for the same collapse to the newest (`flows/scheduling/run_hygiene.py`).
"""

from dataclasses import dataclass
from datetime import UTC
from typing import Any

from flows.execution import prefect_api
from flows.execution.prefect_api import MONITOR, RETRAIN, WATCH, pool_name
from retune.errors import Broken, Refused, RetuneError, WrongUse

RETRAIN_ENTRYPOINT = "flows/retrain.py:retrain"
WATCH_ENTRYPOINT = "flows/watch.py:watch"
WATCH_TIMES = "*/15 * * * *"
MONITOR_ENTRYPOINT = "flows/monitor.py:monitor"
MONITOR_TIMES = "7 * * * *"
REQUESTED = "retune.requested"  # an event with this name asks for a retraining; its payload may say `because`
STARTED_BY = (
    """sh -c 'cd "$RETUNE_CLONE" && exec "$RETUNE_PYTHON" -m flows.scheduling.run_entrypoint'"""  # by `retune worker`
)
GRACE = 60  # seconds that a run may hold its place before it begins: the fewest that Prefect takes
PARAMETERS = {
    RETRAIN: {
        "because": {"type": "string", "title": "because", "description": "who asks, and why"},
        "dry_run": {"type": "boolean", "title": "dry_run", "default": False},
    },
    WATCH: {"periods": {"type": "integer", "title": "periods", "default": 2}},
    MONITOR: {},
}


@dataclass(frozen=True)
class Planned:
    deployment: str
    cron: str
    timezone: str
    active: bool
    next: str
    silent_after: int | None


def set_(cron: str, timezone: str, silent_after: int) -> list[Planned]:
    """Deploy the flows, the retraining with this schedule in place of any before."""
    _check(cron, timezone)
    ensure_pool()
    from prefect.client.schemas.objects import ConcurrencyLimitStrategy

    retrain = _deploy(RETRAIN, RETRAIN_ENTRYPOINT, cron, timezone, {}, ConcurrencyLimitStrategy.ENQUEUE)
    _take_requests(retrain)
    strategy = ConcurrencyLimitStrategy.CANCEL_NEW
    _deploy(WATCH, WATCH_ENTRYPOINT, WATCH_TIMES, "UTC", {"periods": silent_after}, strategy)
    _deploy(MONITOR, MONITOR_ENTRYPOINT, MONITOR_TIMES, "UTC", {}, strategy)
    return planned()


def _check(cron: str, timezone: str) -> None:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    from cronsim import CronSim, CronSimError

    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise WrongUse(f"Not a time zone: {timezone!r}. Example: Europe/Berlin") from None
    try:
        if len(cron.split()) != 5:
            raise CronSimError("it does not have five fields")
        from datetime import datetime

        next(CronSim(cron, datetime.now(zone)))
    except (CronSimError, StopIteration) as error:
        why = str(error) or "it is never due"
        raise WrongUse(
            f'Not a schedule: {cron!r}, {why}. Write "MINUTE HOUR DAY MONTH WEEKDAY", such as "0 2 * * 1"'
        ) from None


def ensure_pool() -> None:
    """Create the pool, of type process, if it does not exist."""
    if prefect_api.pool():
        return
    from prefect.workers.process import ProcessWorker

    pool_fields = {"name": pool_name(), "type": "process", "description": "where Retune retrains"}
    template = {"base_job_template": ProcessWorker.get_default_base_job_template()}
    try:
        prefect_api.ask("POST", "/work_pools/", {**pool_fields, **template})
    except Broken:
        if not prefect_api.pool():  # another process may have created it meanwhile
            raise


def _deploy(flow: str, entrypoint: str, cron: str, timezone: str, parameters: dict[str, Any], on_collision: Any) -> str:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.objects import ConcurrencyOptions
    from prefect.client.schemas.schedules import CronSchedule

    with get_client(sync_client=True) as client:
        deployment_id = client.create_deployment(
            flow_id=client.create_flow_from_name(flow),
            name=pool_name(),
            path=".",
            entrypoint=entrypoint,
            work_pool_name=pool_name(),
            job_variables={"command": STARTED_BY},
            parameters=parameters,
            parameter_openapi_schema={"type": "object", "properties": PARAMETERS[flow]},
            enforce_parameter_schema=False,
            concurrency_limit=1,
            concurrency_options=ConcurrencyOptions(collision_strategy=on_collision, grace_period_seconds=GRACE),
            paused=False,
            schedules=[],
        )
        for old in client.read_deployment_schedules(deployment_id):
            client.delete_deployment_schedule(deployment_id, old.id)
        schedule = CronSchedule(cron=cron, timezone=timezone)
        client.create_deployment_schedules(deployment_id, [DeploymentScheduleCreate(schedule=schedule, active=True)])
    return str(deployment_id)


def _take_requests(deployment: str) -> None:
    """Have an event from outside start a run, with the reason that the event gives."""
    from uuid import UUID

    from prefect.client.orchestration import get_client
    from prefect.events import DeploymentEventTrigger

    reason = "{{ event.payload.get('because') or 'an event that gave no reason' }}"
    trigger = DeploymentEventTrigger(
        name=f"{pool_name()}: retrain on request",
        expect={REQUESTED},
        match={"prefect.resource.id": pool_name()},
        parameters={"because": {"__prefect_kind": "jinja", "template": reason}},
    )
    trigger.set_deployment_id(UUID(deployment))
    with get_client(sync_client=True) as client:
        client.delete_resource_owned_automations(f"prefect.deployment.{deployment}")
        client.create_automation(trigger.as_automation())


def redeploy_command(deployment: dict[str, Any]) -> str:
    """The command that deploys again if an earlier version of Retune made this deployment, else empty.

    The runs of such a deployment cannot start: it names a module that is gone.
    """
    if (deployment.get("job_variables") or {}).get("command") == STARTED_BY:
        return ""
    schedule: dict[str, Any] = next((each["schedule"] for each in deployment["schedules"]), {})
    return f'`retune schedule set "{schedule.get("cron", "0 2 * * 1")}" --timezone {schedule.get("timezone") or "UTC"}`'


def outdated() -> str:
    """A sentence for people if an earlier version of Retune deployed the retraining; else empty."""
    deployment = prefect_api.deployment(RETRAIN)
    command = redeploy_command(deployment) if deployment else ""
    return f"An earlier version of Retune made this deployment: run {command} again" if command else ""


def planned() -> list[Planned]:
    """The scheduled flows; empty if none is."""
    schedules: list[Planned] = []
    silent_after = None
    for flow in (MONITOR, WATCH, RETRAIN):
        deployment = prefect_api.deployment(flow)
        if flow == WATCH and deployment:
            silent_after = deployment["parameters"].get("periods")
        for each in (deployment or {}).get("schedules", []):
            active = each["active"] and not (deployment or {})["paused"]
            schedules.insert(0, _planned(flow, each, active, silent_after if flow == RETRAIN else None))
    return schedules


def _planned(flow: str, schedule: dict[str, Any], active: bool, silent_after: int | None) -> Planned:
    from zoneinfo import ZoneInfo

    from cronsim import CronSim

    cron, timezone = schedule["schedule"]["cron"], schedule["schedule"].get("timezone") or "UTC"
    due = next(CronSim(cron, prefect_api.now().astimezone(ZoneInfo(timezone)))).isoformat(timespec="minutes")
    return Planned(f"{flow}/{pool_name()}", cron, timezone, active, due if active else "paused", silent_after)


NEWEST = 10  # runs to show


@dataclass(frozen=True)
class Ran:
    """A run of the retraining that is due, at work, suspended or over; times in UTC, None before they have come."""

    run: str
    state: str
    because: str
    due: str | None
    began: str | None
    ended: str | None
    says: str
    version: str | None = None  # that waits for an answer


def newest() -> list[Ran]:
    """The newest runs of the retraining, newest first, without those that are only planned for later."""
    deployment = prefect_api.deployment(RETRAIN)
    if not deployment:
        return []
    due = {"before_": prefect_api.now().isoformat()}
    return [_ran(run) for run in prefect_api.of_deployment(deployment, expected_start_time=due, limit=NEWEST)]


def _ran(run: prefect_api.Run) -> Ran:
    says = (run["state"].get("message") or "").strip()
    due, began, ended = (_utc(run[name]) for name in ("expected_start_time", "start_time", "end_time"))
    version, problem = _awaited(run) if run["state_type"] == "PAUSED" else (None, "")
    says = problem or (says.splitlines()[0] if says else "")
    state = _state(run) + (f" of {version}" if version else "")
    return Ran(run["name"], state, prefect_api.reason_of(run), due, began, ended, says, version)


def _awaited(run: prefect_api.Run) -> tuple[str | None, str]:
    """The version that a suspended run waits for, if it still does; or why it cannot be read."""
    from flows.retraining import approval

    try:
        version = approval.asked_about(run["id"])
    except RetuneError as error:
        return None, f"its version cannot be read: {error}"
    return (str(version), "") if version and approval.waits(version) else (None, "")


def _utc(timestamp: str | None) -> str | None:
    return prefect_api.time(timestamp).astimezone(UTC).isoformat(timespec="seconds") if timestamp else None


def _state(run: prefect_api.Run) -> str:
    """The state in words that need no knowledge of Prefect."""
    if run["state_type"] == "PAUSED":
        return "suspended, waits for approval"
    if run["state_name"] in prefect_api.WAITING:
        return "queued, another is running" if run["state_name"] == "AwaitingConcurrencySlot" else "queued"
    return STATES.get(run["state_type"], str(run["state_name"]).lower())


STATES = {"PENDING": "queued, a worker has it", "COMPLETED": "finished"}


def paused() -> bool:
    """Whether the retraining is paused, which lasts until `schedule resume`."""
    deployment = prefect_api.deployment(RETRAIN)
    if not deployment or not deployment["schedules"]:
        return False
    return deployment["paused"] or not all(each["active"] for each in deployment["schedules"])


def activate(active: bool) -> list[Planned]:
    """Pause or resume retraining. The health check continues, and reports that retraining is paused."""
    deployment = prefect_api.deployment(RETRAIN)
    if not deployment or not deployment["schedules"]:
        raise Refused('no schedule is set: `retune schedule set "0 2 * * 1"` retrains every Monday at two')
    for each in deployment["schedules"]:
        prefect_api.ask("PATCH", f"/deployments/{deployment['id']}/schedules/{each['id']}", {"active": active})
    if active and deployment["paused"]:
        prefect_api.ask("POST", f"/deployments/{deployment['id']}/resume_deployment")
    return planned()


def request(because: str) -> None:
    """Request a retraining as a program from outside does."""
    if not prefect_api.deployment(RETRAIN):
        raise Refused('nothing takes requests yet: `retune schedule set "0 2 * * 1"` deploys what does')
    prefect_api.emit(REQUESTED, {"because": because})
