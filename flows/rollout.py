"""A version takes over from the champion step by step while both are served, or is rolled back.

    retune rollout start classifier/4

    look ── decide ─┬─ too few answers, too early, no proof yet ──> look again
                    ├─ nothing is worse ── the next step ─────────> look again
                    ├─ worse ── the champion answers everybody ───> rolled back
                    └─ the last step holds ── becomes champion ───> completed

The table of rollouts is the state, so a killed flow goes on where it was (`retune rollout resume`), and servers divide
requests as it says whether this flow runs or not. Each move is an entry of the history.
"""

import time
from collections.abc import Callable
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows import pipeline
from flows.project import environment
from flows.retraining import approval as suspended
from flows.retraining import notifications
from retune.config import params
from retune.config.types import Event
from retune.errors import Refused
from retune.lineage import history
from retune.lineage import record as records
from retune.registry import backend, clean_process, versions
from retune.serving import database, rollouts
from retune.serving.rollouts import Rollout
from retune.system.locks import waiting
from tasks.promote import approval, gate_decision, manual, succession
from tasks.rollout import decision as decisions
from tasks.rollout import evidence, journal
from tasks.rollout.decision import Decision

BRIEFLY = 2.0  # seconds to wait for another flow of the same rollout
Move = Callable[[Any, Rollout, Decision, params.Params], Rollout]


@flow(name="rollout")
def rollout(name: str, once: bool = False) -> Rollout:
    """once: a single look. Raises Refused if this model never had a rollout."""
    environment.activate_project()
    config, log = params.load(), get_run_logger()
    lock = backend.state() / "locks" / f"rollout-{name}.lock"
    reason = ""
    with waiting(lock, BRIEFLY, f"flow of the rollout of {name}"):
        while True:
            try:
                current, sentence = look(name, config, run_move)
            except database.AWAY as error:
                current, sentence = None, f"the database of what is served is away: {str(error).splitlines()[0]}"
            if sentence != reason:
                log.info(sentence)
            reason = sentence
            if current and (once or not current.is_open):
                return current
            time.sleep(config.rollout.look_seconds)


def look(name: str, config: params.Params, move: Move) -> tuple[Rollout, str]:
    """Decide once, and carry it out by `move`. The rollout after that, and a sentence about it."""
    engine = database.connect()
    current = rollouts.latest(engine, name)
    if current is None:
        raise Refused(f"{name} has had no rollout: `retune rollout start {name}/VERSION` begins one")
    journal.catch_up(current)
    if not current.is_open:
        return current, f"{current.state}: {current.reason}"
    verdict = decisions.decide(current, evidence.read(engine, current), config.rollout, time.time())
    if verdict.move != decisions.ROLL_BACK and (ended := end_if_overtaken(engine, current, config)):
        return ended, f"{ended.state}: {ended.reason}"
    if verdict.move == decisions.WAIT:
        return current, f"at {rollouts.in_words(current.step)}: {verdict.reason}"
    after = move(engine, current, verdict, config)
    return after, f"{verdict.move}: {after.reason}"


@task(task_run_name="{verdict.move}", cache_policy=NO_CACHE)
def run_move(engine: Any, current: Rollout, verdict: Decision, config: params.Params) -> Rollout:
    return carry_out(engine, current, verdict, config)


def carry_out(engine: Any, current: Rollout, verdict: Decision, config: params.Params) -> Rollout:
    if verdict.move == decisions.ROLL_BACK:
        return roll_back(engine, current, verdict, config)
    if verdict.move == decisions.COMPLETE:
        return complete(engine, current, verdict, config)
    after = rollouts.change(engine, current, verdict.reason, place=current.place + 1)
    journal.note(after, journal.ADVANCE, [verdict.reason], verdict.as_facts())
    return after


def roll_back(engine: Any, current: Rollout, verdict: Decision, config: params.Params) -> Rollout:
    """First no request goes to the challenger any more; then the history and people hear of it."""
    after = rollouts.change(engine, current, verdict.reason, state=rollouts.ROLLED_BACK)
    journal.note(after, journal.ROLL_BACK, [verdict.reason], verdict.as_facts())
    back = f"{current.rival} answers everybody again."
    if _champion(current.model) == int(current.challenger):  # somebody has promoted it meanwhile
        with clean_process.clean_process() as reader:
            manual.roll_back(current.model, int(current.champion), verdict.reason, _check(reader))
        back = f"{current.rival} is champion again."
    _notify("rolled_back", f"{current.version} was rolled back", f"{verdict.reason}.\n{back}", config)
    return after


def complete(engine: Any, current: Rollout, verdict: Decision, config: params.Params) -> Rollout:
    """It becomes champion as any version does, with the checks of that. Where these refuse it, the rollout pauses."""
    reason = f"its rollout ended well: {verdict.reason}"
    try:
        entry = _make_champion(versions.resolve(current.version), reason)
    except Refused as error:
        why = f"{current.version} cannot become champion: {error}"
        paused = rollouts.change(engine, current, why, state=rollouts.PAUSED)
        journal.note(paused, journal.PAUSE, [why], verdict.as_facts())
        _notify("held", f"{current.version}: its rollout is paused", why, config)
        return paused
    after = rollouts.change(engine, current, verdict.reason, state=rollouts.COMPLETED)
    journal.note(after, journal.COMPLETE, [verdict.reason], verdict.as_facts())
    notifications.notify_manual_promotion(entry, config.notify)
    return after


def _make_champion(version: versions.Version, reason: str) -> history.Entry:
    with clean_process.clean_process() as reader:
        if version.tags.get(succession.DECIDED) != succession.AWAITING:
            return manual.promote_manually(version, reason, _check(reader))
        entry = approval.approve(approval.read_evidence(version, None), reason, _check(reader))
    if flow_run := version.tags.get(approval.FLOW_RUN):
        suspended.resume(flow_run)
    return entry


def _check(reader: clean_process.Reader) -> succession.Check:
    return lambda version: manual.fit_to_serve(version, reader, False)


def end_if_overtaken(engine: Any, current: Rollout, config: params.Params) -> Rollout | None:
    """End a rollout whose champion is another version by now: it compares with what serves no more."""
    champion = _champion(current.model)
    if champion == int(current.champion):
        return None
    if champion == int(current.challenger):
        why = f"{current.version} is champion by now"
        after = rollouts.change(engine, current, why, state=rollouts.COMPLETED)
        journal.note(after, journal.COMPLETE, [why], {})
        return after
    why = f"the champion is {current.model}/{champion} now, not {current.rival}, which it was compared with"
    after = rollouts.change(engine, current, why, state=rollouts.ABORTED)
    journal.note(after, journal.ABORT, [why], {})
    _notify("held", f"{current.version}: its rollout has ended", why, config)
    return after


def _champion(name: str) -> int | None:
    entry = history.read(name).champion()
    return entry.version if entry else None


def _notify(event: Event, title: str, body: str, config: params.Params) -> None:
    notifications.notify_people(event, title, body, config.notify)


def refuse_stale(version: versions.Version) -> None:
    """Raises Refused for a version whose approval would be refused at the end: say so before it is rolled out."""
    if version.tags.get(succession.DECIDED) != succession.AWAITING:
        return
    decision = gate_decision.decision_of(records.read(versions.version_folder(version) / records.FILE))
    current = gate_decision.with_current_champion(decision, version, history.read(version.name))
    if not current.promote:
        raise Refused(f"{version} cannot be approved any more: {current.reasons[-1]}")


def run(name: str, once: bool) -> Rollout:
    """Run the flow with plain errors."""
    return pipeline.run_with_plain_errors(lambda: rollout(name, once))
