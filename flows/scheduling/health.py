"""Who watches the schedule: says when retraining has fallen silent and why, and tidies up after what has died.

    silent()   has nothing succeeded for N periods, and if so which is it: server, worker, paused, zombie, late, ...
    tidy()     zombies are closed, late runs collapse to the newest, leaked slots are given back, crashes are told

It is asked by `retune doctor` and `retune watch`, by the flow `watch` on its own schedule, and by each worker between
its other work. A decision "nothing to do" is a success: the flow that decided it has completed. So is a retraining by
hand, if this clone's history tells of it.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flows.project import environment
from flows.scheduling import crash_alerts, prefect_api
from flows.scheduling.prefect_api import Run
from retune.config.params import Event
from retune.errors import RetuneError
from retune.lineage import history, retraining_log
from retune.system import process_identity

HEARTBEAT = environment.HEARTBEAT
SILENT_FOR = timedelta(seconds=3 * HEARTBEAT + 15)  # a process of another machine without a sign for so long has died
NEVER_BEGUN = timedelta(seconds=60)  # after so long the worker that took a run, and has no process for it, has died
LATE = timedelta(minutes=5)  # a run that begins so late gives way; else runs that are due each minute would, for ever
FLOWS = ("retrain", "watch", "retune")
UNKNOWN, UNSCHEDULED = "unknown", "unscheduled"
UNWATCHED = (UNKNOWN, UNSCHEDULED)  # kinds that are no fault of a clone that nobody asked to retrain on schedule
Tell = Callable[[Event, str, str], bool]  # whether anybody was told, or wants to be


@dataclass(frozen=True)
class Silence:
    """Whether all is well, and if not which it is, in words, and what to do."""

    ok: bool
    kind: str
    words: str
    mend: str = ""
    succeeded: str | None = None  # when a retraining last did, as far as can be known


# ---------------------------------------------------------------- the dead-man's switch


def silent(now: datetime | None = None) -> Silence:
    """Has no retraining succeeded for as many periods as the schedule allows? A server that is away is an answer.

    So is that nothing can be watched: who asks by cron must not read that as well for ever (see UNWATCHED).
    """
    try:
        return _silent(now)
    except prefect_api.Away as error:
        return Silence(
            False, "server", str(error), "`retune up` starts what is not up; `.retune/services/*.log` say why"
        )


def _silent(now: datetime | None) -> Silence:
    if not os.environ.get("PREFECT_API_URL"):
        if (environment.state() / environment.SERVICES / environment.SERVICES_ENV).exists():
            return Silence(
                False, "server", "the servers of this clone are down, so nothing is retrained", "`retune up`"
            )
        return Silence(
            False,
            UNKNOWN,
            "no Prefect server is known here, so nobody can say whether anything is retrained",
            "set PREFECT_API_URL and PREFECT_API_AUTH_STRING to the server that has the schedule, or `retune up` here",
        )
    found = prefect_api.deployment(prefect_api.RETRAIN)
    schedule = next(iter(found["schedules"]), None) if found else None
    if not found or not schedule:
        return Silence(
            False,
            UNSCHEDULED,
            f"nothing is scheduled as {prefect_api.RETRAIN}/{prefect_api.POOL} on the Prefect server at "
            f"{prefect_api.address()}",
            '`retune schedule set "0 2 * * 1"`; RETUNE_POOL names another pool',
        )
    periods = _periods()
    due = _due(schedule, now or prefect_api.now(), periods + 1)
    since = due[-2] if _in_vain(found, due[0]) else due[-1]  # the newest period counts once its run has failed
    last = max(filter(None, [_last_success(found), *_last_in_history()]), default=None)
    at = last.isoformat() if last else None
    told = f"the last success was {_told(last)}" if last else "nothing has succeeded yet"
    if (last and last >= since) or prefect_api.time(schedule["created"]) > since:
        note = "" if schedule["active"] else "; the schedule is paused"
        words = f"{told}; due {schedule['schedule']['cron']} ({_zone(schedule)}){note}"
        return Silence(True, "ok", words, succeeded=at)
    kind, words, mend = _why(found, schedule)
    said = f"no retraining has succeeded for {periods} periods ({told}): {words}"
    return Silence(False, kind, said, mend, at)


def _periods() -> int:
    watching = prefect_api.deployment(prefect_api.WATCH)
    return int((watching or {}).get("parameters", {}).get("periods", 2))


def _due(schedule: dict[str, Any], now: datetime, count: int) -> list[datetime]:
    """The last times at which the schedule was due, newest first."""
    from zoneinfo import ZoneInfo

    from cronsim import CronSim

    last = CronSim(schedule["schedule"]["cron"], now.astimezone(ZoneInfo(_zone(schedule))), reverse=True)
    return [next(last) for _ in range(count)]


def _in_vain(found: dict[str, Any], since: datetime) -> bool:
    """Whether a run that was due since then has failed. One that waits, is at work or sleeps may still succeed."""
    criteria = {**prefect_api.in_states("FAILED", "CRASHED"), "expected_start_time": {"after_": since.isoformat()}}
    return any(not run["parameters"].get("dry_run") for run in prefect_api.of_deployment(found, **criteria))


def _zone(schedule: dict[str, Any]) -> str:
    return schedule["schedule"].get("timezone") or "UTC"


def _last_success(found: dict[str, Any]) -> datetime | None:
    done = prefect_api.of_deployment(found, **prefect_api.in_states("COMPLETED"), sort="END_TIME_DESC")
    return next((prefect_api.time(run["end_time"]) for run in done if not run["parameters"].get("dry_run")), None)


def _last_in_history() -> Iterator[datetime | None]:
    """Of each model: a retraining that was started by hand stands in no deployment, and in the clone's history."""
    for name in history.names():
        yield retraining_log.last_success(history.read(name))


def _why(found: dict[str, Any], schedule: dict[str, Any]) -> tuple[str, str, str]:
    """kind, words, what to do: of all that is wrong, what must be mended first."""
    if not schedule["active"] or found["paused"]:
        return "paused", "the schedule is paused", "`retune schedule resume`"
    pool = prefect_api.pool()
    if pool and pool["is_paused"]:
        return "paused", f"the work pool {prefect_api.POOL} is paused", f"`prefect work-pool resume {prefect_api.POOL}`"
    return _why_at_work(found) or _why_waiting(found) or _why_ended(found)


def _why_at_work(found: dict[str, Any]) -> tuple[str, str, str] | None:
    for run in prefect_api.of_deployment(found, **prefect_api.in_states(*prefect_api.AT_WORK, "PAUSED")):
        since = f"{run['name']} since {_told(prefect_api.time(run['state']['timestamp']))}"
        if run["state_type"] == "PAUSED":
            if waits := _why_asleep(run):
                return "waiting", f"{since} {waits[0]}", waits[1]
            continue
        if dead := death(run):
            return "zombie", f"{since} is {run['state_name']}, but {dead}", "a worker closes it: `retune up`"
        return (
            "running",
            f"{since} is at work and has not ended",
            "its log is in Prefect; cancel it there if it is stuck",
        )
    return None


def _why_asleep(run: Run) -> tuple[str, str] | None:
    """For whose answer a run sleeps, and how to give it; None if it was given: a worker wakes the run (`asleep.py`)."""
    from flows.retraining import approval  # it imports Prefect

    try:
        version = approval.asked_about(run["id"])
    except RetuneError as error:
        return f"is suspended, and for which version cannot be read: {error}", "`retune doctor` checks"
    if version is None:
        return "is suspended, and no version here waits for an answer", "resume or cancel it in Prefect"
    if not approval.waits(version):
        return None
    answers = " or ".join(f"`retune {verb} {version} --reason TEXT`" for verb in ("approve", "reject"))
    return f"waits for an answer about {version}", answers


def _why_waiting(found: dict[str, Any]) -> tuple[str, str, str] | None:
    late = waiting(found)
    if not any(worker["status"] == "ONLINE" for worker in prefect_api.workers()):
        seen = [prefect_api.time(worker["last_heartbeat_time"]) for worker in prefect_api.workers()]
        last = f", the last was heard {_told(max(seen))}" if seen else ""
        return "worker", f"no worker is there{last}; {len(late)} runs wait", "`retune up`, or `retune worker`"
    if late:
        due = _told(prefect_api.time(late[-1]["expected_start_time"]))
        return "late", f"{len(late)} runs wait since {due}, and no worker takes them", "see .retune/services/worker.log"
    return None


def _why_ended(found: dict[str, Any]) -> tuple[str, str, str]:
    ended = prefect_api.of_deployment(found, **prefect_api.in_states(*prefect_api.ENDED), sort="END_TIME_DESC", limit=1)
    if not ended:
        return "never", "no run was ever made", "`retune schedule set` again; the server's log may say why"
    run = ended[0]
    said = (run["state"].get("message") or "without a word").strip().splitlines()[0]
    kind = run["state_type"].lower()
    return (
        kind,
        f"the last run, {run['name']}, {kind}: {said}",
        "its log is in Prefect and in .retune/services/worker.log",
    )


def _told(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


# ---------------------------------------------------------------- telling


def look(tell: Tell | None = None) -> Silence:
    """`silent`, and whoever should know is told once: when it has fallen silent, each cause of it, when it is over.

    What nobody could be told is told at the next look. A cause that was told is not told again in the same silence:
    one that lasts goes from failed to late, running and failed with each run.
    """
    found = silent()
    if tell:
        note = environment.state() / "silence.json"
        before = json.loads(note.read_text("utf-8")) if note.exists() else None
        causes = before.get("causes", []) if before else []
        news = not found.ok and found.kind not in causes
        if news and tell("silent", "Retraining has fallen silent", f"{found.words}\n{found.mend}"):
            silent_now = found.kind != "server" or bool(before and before.get("silent", True))
            when = datetime.now(UTC).isoformat()
            # after it was told: told twice is better than never
            more = {"causes": [*causes, found.kind], "told": when, "silent": silent_now}
            _write(note, json.dumps({**asdict(found), **more}))
        if found.ok and before:
            _end_silence(found, before, note, tell)
    return found


def _end_silence(found: Silence, before: dict[str, Any], note: Path, tell: Tell) -> None:
    """Only a success ends the silence of the retraining: a schedule that is set anew just has not been due for long.

    Then the next silence is told again, whatever its cause. A server that was away had only kept us from looking.
    """
    since = before.get("told")  # a note of before this was kept tells no time
    if found.succeeded and (not since or prefect_api.time(found.succeeded) > prefect_api.time(since)):
        if tell("recovered", "Retraining has recovered", f"{found.words}\nIt had been silent: {before['words']}"):
            note.unlink()
    elif before["kind"] == "server" and not before.get("silent", False):
        words = f"{found.words}\nIt could not be watched: {before['words']}"
        if tell("recovered", "Retraining is watched again", words):
            note.unlink()
    elif before["kind"] != found.kind:
        _write(note, json.dumps({**before, "kind": found.kind, "causes": []}))


def tell(event: Event, title: str, body: str) -> bool:
    """To whoever wants to know, also where params.yaml is wrong: retraining may be silent for that very reason."""
    from flows.retraining import notifications as channels

    section, wrong = channels.wanted()
    if wrong:
        body = f"{body}\nNothing can be retrained until this is mended: {wrong}"
    return channels.tell(event, title, body, section)


# ---------------------------------------------------------------- runs that wait


def waiting(found: dict[str, Any]) -> list[Run]:
    """The runs that are due and wait, newest first; one that goes on after an answer may wait for its place again."""
    due = prefect_api.of_deployment(
        found,
        state={"name": {"any_": list(prefect_api.WAITING)}},
        expected_start_time={"before_": prefect_api.now().isoformat()},
    )
    return sorted(due, key=_order, reverse=True)


def _order(run: Run) -> tuple[datetime, datetime]:
    return prefect_api.time(run["expected_start_time"]), prefect_api.time(run["created"])


def collapse(found: dict[str, Any]) -> list[Run]:
    """Of the runs that wait with the same parameters only the newest is left; the others are cancelled in words."""
    newest: dict[str, Run] = {}
    gone = []
    for run in _unbegun(found):
        first = newest.setdefault(_asks(run), run)
        if first is not run and _cancel_for(run, first):
            gone.append(run)
    return gone


def gives_way(run: Run) -> Run | None:
    """The newer run that waits with the same parameters, if there is one; then this one is cancelled."""
    if run["run_count"] or not run["deployment_id"]:
        return None  # it goes on after an approval, or was started by hand
    if prefect_api.now() - prefect_api.time(run["expected_start_time"]) < LATE:
        return None
    rivals = [other for other in _unbegun({"id": run["deployment_id"]}) if other["id"] != run["id"]]
    newer = next((other for other in rivals if _asks(other) == _asks(run) and _order(other) > _order(run)), None)
    return newer if newer and _cancel_for(run, newer) else None


def _unbegun(found: dict[str, Any]) -> list[Run]:
    """One that has begun before does what no other does, whatever its parameters: it goes on with its own version."""
    return [run for run in waiting(found) if not run["run_count"]]


def _asks(run: Run) -> str:
    return json.dumps(run["parameters"], sort_keys=True)


def _cancel_for(run: Run, newer: Run) -> bool:
    due = _told(prefect_api.time(newer["expected_start_time"]))
    return prefect_api.set_state(run, "CANCELLED", f"late: {newer['name']}, due {due}, is newer and does the same")


# ---------------------------------------------------------------- runs whose process has died


def sign(run_id: str) -> None:
    """Write down that this process is the run's."""
    _write(_signatures() / run_id, process_identity.name())


def death(run: Run) -> str | None:
    """In words, how we know that the process of a run that should be at work has died; None if it may live.

    A process of this machine is looked for; of another machine we know only its heartbeats.
    """
    signature = _signatures() / run["id"]
    if signature.exists() and process_identity.here(whose := signature.read_text("utf-8")):
        return None if process_identity.alive(whose) else f"its process ({whose}) has died"
    began, now = prefect_api.time(run["state"]["timestamp"]), prefect_api.now()
    if run["state_type"] == "PENDING":
        return f"no process was begun for it since {_told(began)}" if now - began > NEVER_BEGUN else None
    last = prefect_api.last_sign(run, now - SILENT_FOR) if now - began > SILENT_FOR else began
    return None if last else f"it has given no sign of life for {SILENT_FOR.total_seconds():.0f} s"


def zombies() -> list[tuple[Run, str]]:
    """The runs of ours that should be at work and have died, with how we know."""
    at_work = prefect_api.runs(**prefect_api.in_states(*prefect_api.AT_WORK))
    ours = {each["id"] for each in _deployments()}
    return [(run, dead) for run in at_work if (dead := _death_of_ours(run, ours))]


def _death_of_ours(run: Run, deployments: set[str]) -> str | None:
    """A part of a run of ours dies with the whole; what was begun by hand is told by its heartbeats."""
    if run["parent_task_run_id"]:
        whole = prefect_api.parent(run)
        ended = whole and whole["state_type"] in prefect_api.ENDED and _is_ours(whole, deployments)
        return f"{whole['name']}, which it is part of, has ended" if whole and ended else None
    begun = run["deployment_id"] or run["state_type"] != "PENDING"
    return death(run) if begun and _is_ours(run, deployments) else None


def _is_ours(run: Run, deployments: set[str]) -> bool:
    if run["deployment_id"]:
        return run["deployment_id"] in deployments
    return (prefect_api.ask("GET", f"/flows/{run['flow_id']}") or {}).get("name") in FLOWS


def close(run: Run, dead: str) -> bool:
    """Close a run that has died; one that never began is put back for the next worker. Its slot is free at once."""
    if run["state_type"] == "PENDING":
        return prefect_api.set_state(run, "SCHEDULED", f"{dead}: the worker that took it has died; put back")
    for child in prefect_api.children(run):
        if child["state_type"] in prefect_api.AT_WORK:
            prefect_api.set_state(child, "CRASHED", f"the run that it belongs to has died: {dead}")
    ended = "CANCELLED" if run["state_type"] == "CANCELLING" else "CRASHED"
    return prefect_api.set_state(run, ended, f"zombie: {dead}; closed, and its place given to the next run")


# ---------------------------------------------------------------- all of it, again and again


def _deployments() -> Iterator[dict[str, Any]]:
    for flow in (prefect_api.RETRAIN, prefect_api.WATCH):
        if found := prefect_api.deployment(flow):
            yield found


class Tidier:
    """Remembers what it saw the last time: a slot that nobody holds is given back only if it is seen twice.

    And of which crashes it could tell nobody: it tries each once, and the next round, with another memory, once more.
    """

    def __init__(self, tell: Tell = tell) -> None:
        self.leaked: set[str] = set()
        self.unheard: set[str] = set()
        self.tell = tell

    def tidy(self) -> list[str]:
        """Returns what was done, in words."""
        done = [f"{run['name']}: {dead}; closed" for run, dead in zombies() if close(run, dead)]
        leaked = set()
        for found in _deployments():
            done += [f"{run['name']}: late, a newer one is due; cancelled" for run in collapse(found)]
            limit = found.get("global_concurrency_limit") or {}
            if limit.get("active_slots") and not prefect_api.of_deployment(
                found, **prefect_api.in_states(*prefect_api.AT_WORK)
            ):
                leaked.add(limit["id"])
                if limit["id"] in self.leaked:
                    prefect_api.ask("PATCH", f"/v2/concurrency_limits/{limit['id']}", {"active_slots": 0})
                    done.append(f"{found['name']}: a slot that no run holds; given back")
        self.leaked = leaked
        _forget_signatures()
        return [*done, *crash_alerts.tell_of_new(self.tell, self.unheard)]


def _forget_signatures() -> None:
    """Signatures of processes of this machine that have ended: their runs have been closed by now."""
    for signature in _signatures().glob("*"):
        with suppress(OSError):
            whose = signature.read_text("utf-8")
            if process_identity.here(whose) and not process_identity.alive(whose) and not _at_work(signature.name):
                signature.unlink()


def _at_work(run_id: str) -> bool:
    run = prefect_api.ask("GET", f"/flow_runs/{run_id}")
    return bool(run) and run["state_type"] in prefect_api.AT_WORK


def _signatures() -> Path:
    return environment.state() / "running"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    unfinished.write_text(text, "utf-8")
    unfinished.replace(path)
