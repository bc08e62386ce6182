"""The health of the schedule: whether retraining has fallen silent, why, and what to do about it.

    check_health()       has nothing succeeded for N periods, and why: server, worker, paused, zombie, late, ...
    check_and_notify()   the same, and people are notified when it falls silent and when it recovers

`retune doctor` and `retune schedule health` call the first, and the flow `watch` calls the second on its own schedule.
A decision "nothing to do" is a success: the flow that decided it has completed. So is a retraining by hand, if this
clone's history has an entry for it. `run_hygiene` tidies up after runs that have died.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.execution import prefect_api
from flows.execution.prefect_api import Run
from flows.project import environment
from flows.scheduling import crash_alerts, deployments, run_hygiene
from retune.errors import RetuneError
from retune.lineage import history, retraining_log
from retune.registry import backend
from retune.system import files

HEARTBEAT = environment.HEARTBEAT
UNKNOWN, UNSCHEDULED = "unknown", "unscheduled"
UNWATCHED = (UNKNOWN, UNSCHEDULED)  # no fault where a clone is not meant to retrain on a schedule


@dataclass(frozen=True)
class ScheduleHealth:
    """Whether retraining is healthy; if it is not, the kind of problem, in words, and what to do."""

    ok: bool
    kind: str
    words: str
    mend: str = ""
    succeeded: str | None = None  # when a retraining last succeeded, as far as is known


def check_health(now: datetime | None = None) -> ScheduleHealth:
    """Has no retraining succeeded for as many periods as the schedule allows? A server that is away is an answer.

    So is that nothing can be watched: who asks by cron must not read that as well for ever (see UNWATCHED).
    """
    try:
        return _check(now)
    except prefect_api.Away as error:
        return ScheduleHealth(
            False, "server", str(error), "`retune up` starts what is not up; `.retune/services/*.log` say why"
        )


def _check(now: datetime | None) -> ScheduleHealth:
    if not os.environ.get("PREFECT_API_URL"):
        if (backend.state() / environment.SERVICES / environment.SERVICES_ENV).exists():
            return ScheduleHealth(
                False, "server", "the servers of this clone are down, so nothing is retrained", "`retune up`"
            )
        return ScheduleHealth(
            False,
            UNKNOWN,
            "this clone knows no Prefect server, so it cannot tell whether anything is retrained",
            "set PREFECT_API_URL and PREFECT_API_AUTH_STRING to the server that has the schedule, or `retune up` here",
        )
    deployment = prefect_api.deployment(prefect_api.RETRAIN)
    schedule = next(iter(deployment["schedules"]), None) if deployment else None
    if not deployment or not schedule:
        return ScheduleHealth(
            False,
            UNSCHEDULED,
            f"nothing is scheduled as {prefect_api.RETRAIN}/{prefect_api.pool_name()} on the Prefect server at "
            f"{prefect_api.address()}",
            '`retune schedule set "0 2 * * 1"`; RETUNE_POOL names another pool',
        )
    if command := deployments.redeploy_command(deployment):
        words = "an earlier version of Retune made the deployment, and its runs cannot start"
        return ScheduleHealth(False, "outdated", words, f"run {command} again")
    periods = _periods()
    due = _due(schedule, now or prefect_api.now(), periods + 1)
    # the newest period counts once its run has failed
    since = due[-2] if _has_failed_since(deployment, due[0]) else due[-1]
    last = max(filter(None, [_last_success(deployment), *_last_in_history()]), default=None)
    at = last.isoformat() if last else None
    success_words = f"the last success was {prefect_api.in_local_time(last)}" if last else "nothing has succeeded yet"
    if (last and last >= since) or prefect_api.time(schedule["created"]) > since:
        note = "" if schedule["active"] else "; the schedule is paused"
        words = f"{success_words}; due {schedule['schedule']['cron']} ({_zone(schedule)}){note}"
        return ScheduleHealth(True, "ok", words, succeeded=at)
    kind, words, mend = _why(deployment, schedule)
    message = f"no retraining has succeeded for {periods} periods ({success_words}): {words}"
    return ScheduleHealth(False, kind, message, mend, at)


def _periods() -> int:
    watching = prefect_api.deployment(prefect_api.WATCH)
    return int((watching or {}).get("parameters", {}).get("periods", 2))


def _due(schedule: dict[str, Any], now: datetime, count: int) -> list[datetime]:
    """The last times at which the schedule was due, newest first."""
    from zoneinfo import ZoneInfo

    from cronsim import CronSim

    last = CronSim(schedule["schedule"]["cron"], now.astimezone(ZoneInfo(_zone(schedule))), reverse=True)
    return [next(last) for _ in range(count)]


def _has_failed_since(deployment: dict[str, Any], since: datetime) -> bool:
    """Whether a run that was due since then has failed. One that waits, runs or is suspended may still succeed."""
    criteria = {**prefect_api.in_states("FAILED", "CRASHED"), "expected_start_time": {"after_": since.isoformat()}}
    return any(not run["parameters"].get("dry_run") for run in prefect_api.of_deployment(deployment, **criteria))


def _zone(schedule: dict[str, Any]) -> str:
    return schedule["schedule"].get("timezone") or "UTC"


def _last_success(deployment: dict[str, Any]) -> datetime | None:
    completed_runs = prefect_api.of_deployment(deployment, **prefect_api.in_states("COMPLETED"), sort="END_TIME_DESC")
    return next(
        (prefect_api.time(run["end_time"]) for run in completed_runs if not run["parameters"].get("dry_run")), None
    )


def _last_in_history() -> Iterator[datetime | None]:
    """The last success of each model. A manual retraining belongs to no deployment; the history of the clone has it."""
    for name in history.names():
        yield retraining_log.last_success(history.read(name))


def _why(deployment: dict[str, Any], schedule: dict[str, Any]) -> tuple[str, str, str]:
    """Kind, words and what to do, of the problem that must be solved first."""
    if not schedule["active"] or deployment["paused"]:
        return "paused", "the schedule is paused", "`retune schedule resume`"
    pool = prefect_api.pool()
    if pool and pool["is_paused"]:
        name = prefect_api.pool_name()
        return "paused", f"the work pool {name} is paused", f"`prefect work-pool resume {name}`"
    return _why_at_work(deployment) or _why_waiting(deployment) or _why_ended(deployment)


def _why_at_work(deployment: dict[str, Any]) -> tuple[str, str, str] | None:
    for run in prefect_api.of_deployment(deployment, **prefect_api.in_states(*prefect_api.AT_WORK, "PAUSED")):
        since = f"{run['name']} since {prefect_api.in_local_time(prefect_api.time(run['state']['timestamp']))}"
        if run["state_type"] == "PAUSED":
            if waits := _why_asleep(run):
                return "waiting", f"{since} {waits[0]}", waits[1]
            continue
        if dead := run_hygiene.why_dead(run):
            return "zombie", f"{since} is {run['state_name']}, but {dead}", "a worker closes it: `retune up`"
        return (
            "running",
            f"{since} is running and has not ended",
            "its log is in Prefect; cancel it there if it is stuck",
        )
    return None


def _why_asleep(run: Run) -> tuple[str, str] | None:
    """What a suspended run waits for, and how to answer. None if the answer was given: the run resumes."""
    from flows.retraining import approval  # it imports Prefect

    try:
        version = approval.asked_about(run["id"])
    except RetuneError as error:
        return f"is suspended, and its version cannot be read: {error}", "`retune doctor` checks"
    if version is None:
        return "is suspended, and no version here waits for an answer", "resume or cancel it in Prefect"
    if not approval.waits(version):
        return None
    answers = " or ".join(f"`retune {verb} {version} --reason TEXT`" for verb in ("approve", "reject"))
    return f"waits for an answer about {version}", answers


def _why_waiting(deployment: dict[str, Any]) -> tuple[str, str, str] | None:
    late = run_hygiene.waiting(deployment)
    if not any(worker["status"] == "ONLINE" for worker in prefect_api.workers()):
        heartbeats = [prefect_api.time(worker["last_heartbeat_time"]) for worker in prefect_api.workers()]
        last = f", the last one sent a heartbeat {prefect_api.in_local_time(max(heartbeats))}" if heartbeats else ""
        return "worker", f"no worker is running{last}; {len(late)} runs wait", "`retune up`, or `retune worker`"
    if late:
        due = prefect_api.in_local_time(prefect_api.time(late[-1]["expected_start_time"]))
        words = f"{len(late)} runs have waited since {due}, and no worker takes them"
        return "late", words, "see .retune/services/worker.log"
    return None


def _why_ended(deployment: dict[str, Any]) -> tuple[str, str, str]:
    runs = prefect_api.of_deployment(
        deployment, **prefect_api.in_states(*prefect_api.ENDED), sort="END_TIME_DESC", limit=1
    )
    if not runs:
        return "never", "no run was ever created", "`retune schedule set` again; the server's log may say why"
    run = runs[0]
    message = (run["state"].get("message") or "without a word").strip().splitlines()[0]
    kind = run["state_type"].lower()
    return (
        kind,
        f"the last run, {run['name']}, {kind}: {message}",
        "its log is in Prefect and in .retune/services/worker.log",
    )


def check_and_notify(tell: crash_alerts.Tell | None = None) -> ScheduleHealth:
    """`check_health`, and one notification when it falls silent, one for each further cause, one when it is over.

    A notification that reaches nobody is sent again at the next check. A cause is not repeated in the same silence:
    one that lasts goes from failed to late, running and failed with each run.
    """
    health = check_health()
    if tell:
        note = backend.state() / "silence.json"
        before = json.loads(note.read_text("utf-8")) if note.exists() else None
        causes = before.get("causes", []) if before else []
        news = not health.ok and health.kind not in causes
        if news and tell("unhealthy", "Retraining has fallen silent", f"{health.words}\n{health.mend}"):
            silent_now = health.kind != "server" or bool(before and before.get("silent", True))
            when = datetime.now(UTC).isoformat()
            # after the notification: twice is better than never
            more = {"causes": [*causes, health.kind], "told": when, "silent": silent_now}
            files.write_text(note, json.dumps({**asdict(health), **more}))
        if health.ok and before:
            _end_silence(health, before, note, tell)
    return health


def _end_silence(health: ScheduleHealth, before: dict[str, Any], note: Path, tell: crash_alerts.Tell) -> None:
    """Only a success ends the silence of the retraining: a new schedule just has not been due for long.

    After it, the next silence is reported again, whatever its cause. A server that was away only hid the state.
    """
    since = before.get("told")  # an older note has no time
    if health.succeeded and (not since or prefect_api.time(health.succeeded) > prefect_api.time(since)):
        if tell("recovered", "Retraining has recovered", f"{health.words}\nIt had been silent: {before['words']}"):
            note.unlink()
    elif before["kind"] == "server" and not before.get("silent", False):
        words = f"{health.words}\nIt could not be watched: {before['words']}"
        if tell("recovered", "Retraining is watched again", words):
            note.unlink()
    elif before["kind"] != health.kind:
        files.write_text(note, json.dumps({**before, "kind": health.kind, "causes": []}))
