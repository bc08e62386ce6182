"""On a schedule: bring records in, decide, run the pipeline in a folder of its own, promote or hold, tell people.

    retune retrain --dry-run

Every decision is kept, also "nothing to do": as an artifact of the Prefect run and as an entry of the history. Rows
with which a run was refused, or made a worse model, are set aside, so that the next run does not stumble over them.
"""

import json
import shlex
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows import pipeline
from flows.execution import recovery, run_context, worktree
from flows.project import environment
from flows.retraining import approval, intake, refusal_reports
from flows.retraining.outcome_report import RetrainingOutcome, failed, keep_end, record_outcome
from retune.config import params
from retune.data import intake_branch, replay, suppression
from retune.errors import Refused, RetuneError
from retune.evaluation import multiple_choice
from retune.lineage import ancestry, history, record
from retune.lineage import parent_version as starts
from retune.lineage.retraining_log import (
    AWAITING,
    FAILED,
    HELD,
    INPUTS,
    NOTHING,
    PROMOTED,
    REFUSED,
    TRAIN,
    End,
    failures,
    interrupted_version,
    last,
    unanswered_request,
)
from retune.registry import backend, versions
from retune.system import dvc_store, failpoints, git
from retune.system.locks import waiting
from tasks import trigger
from tasks.promote import reconcile, succession

LEFT = "{} was made, and its retraining was cut off before it came to its end: it goes on there first"
LOST = "{0} was left without a decision, and can no more be made as it was: `retune promote {0}` is left to a person"
LONGEST = 500  # characters of an error that is none of ours, as people are told of it
SAME_WORK = 12 * 3600  # seconds to wait for another run on the very same data, code and parameters


class Incomplete(Refused):
    """It did what it could, and a source failed: the Prefect run fails with it, so that it ends no silence."""

    def __init__(self, told: RetrainingOutcome) -> None:
        about = f" {told.version}" if told.version else ""
        super().__init__(f"{told.outcome}{about}, but {'; '.join(failed(told))}")
        self.told = told


@flow(name="retrain")
def retrain(because: str | None = None, dry_run: bool = False) -> RetrainingOutcome:
    """`because`: who asks for it, and why; without it, the triggers of params.yaml decide. Raises Incomplete."""
    environment.activate_project()
    told = explain(because) if dry_run else retrain_and_report(because)
    if told.failures:
        raise Incomplete(told)
    return told


def retrain_and_report(because: str | None) -> RetrainingOutcome:
    """All that a retraining does. What breaks it is kept, and told to people, before it is raised."""
    found = Progress()
    try:
        return run_steps(found, because)
    except pipeline.RefusedRows:  # of which people were told when the rows were set aside
        raise
    except Exception as error:
        told = RetrainingOutcome(FAILED, (describe_error(error),), found.left)
        if found.arrived:
            told = replace(told, failures=found.arrived.failures)
        try:
            keep_end(told)
        except Exception as second:
            get_run_logger().error("this end could not be kept: %s", describe_error(second))
        raise


@dataclass
class Progress:
    """How far a retraining came: what it took up again, and what its sources gave."""

    left: str | None = None
    arrived: intake.IntakeResult | None = None


def describe_error(error: Exception) -> str:
    return str(error) if isinstance(error, RetuneError) else f"{type(error).__name__}: {error}"[:LONGEST]


def run_steps(found: Progress, because: str | None) -> RetrainingOutcome:
    chosen = params.load()
    name, log = chosen.register.name, get_run_logger()
    for sentence in [*recovery.scratch(), *recovery.runs(name), *reconcile.reconcile(name)]:
        log.warning("repaired: %s", sentence)
    if version := approval.pending():
        return resumed(chosen, approval.suspend(version))
    found.left = left_over(name)
    finished = finish(chosen, found.left) if found.left else None
    if finished and finished.outcome == AWAITING:
        return finished
    lost = LOST.format(found.left) if found.left and found.left == left_over(name) else None
    found.left = None
    because = because or unanswered_request(history.read(name))
    found.arrived = arrived = run_fetch(chosen)
    verdict = run_decide(chosen, arrived, because, lost)
    if verdict.train:
        with exclusive(arrived):
            return run_in_worktree(chosen, arrived, verdict, because)
    told = _told(NOTHING, arrived, verdict)
    return replace(finished, failures=told.failures) if finished else told


def left_over(name: str) -> str | None:
    """The newest version, if its retraining was cut off and nobody has deleted it since."""
    left = interrupted_version(history.read(name))
    return left if left in there(name) else None


def there(name: str) -> set[str]:
    """The versions that the registry still has."""
    return {str(version) for version in versions.versions(name)}


def explain(because: str | None) -> RetrainingOutcome:
    """What a retraining would do now, and why. Looks at the sources; keeps nothing."""
    chosen = params.load()
    arrived = news(chosen, intake.fetch_sources(chosen.fetch, say=lambda _: None, enter=False, task=chosen.task))
    chain = history.read(chosen.register.name)
    verdict = check_triggers(chosen, arrived, because or unanswered_request(chain))
    if left := left_over(chosen.register.name):
        verdict = replace(verdict, train=True, why=(LEFT.format(left), *verdict.why))
    return _told(TRAIN if verdict.train else NOTHING, arrived, verdict)


def news(chosen: params.Params, arrived: intake.IntakeResult) -> intake.IntakeResult:
    newest = trigger.newest(history.read(chosen.register.name), there(chosen.register.name))
    return intake.without_known(arrived, newest.state.raw) if newest else arrived


@task(task_run_name="fetch", cache_policy=NO_CACHE)
def run_fetch(chosen: params.Params) -> intake.IntakeResult:
    arrived = news(chosen, intake.fetch_sources(chosen.fetch, get_run_logger().info, task=chosen.task))
    for source, why in arrived.failures.items():
        get_run_logger().error("%s: %s", source, why)
    return arrived


@task(task_run_name="decide", cache_policy=NO_CACHE)
def run_decide(
    chosen: params.Params, arrived: intake.IntakeResult, because: str | None, lost: str | None
) -> trigger.RetrainDecision:
    verdict = check_triggers(chosen, arrived, because)
    verdict = replace(verdict, why=(*filter(None, [lost]), *verdict.why))
    record_outcome(chosen, _told(TRAIN if verdict.train else NOTHING, arrived, verdict))
    failpoints.point("retrain:decided")
    return verdict


def check_triggers(chosen: params.Params, arrived: intake.IntakeResult, because: str | None) -> trigger.RetrainDecision:
    replay.check(replay.files_of(chosen))  # params.yaml knows them by their hash, and would see no change
    multiple_choice.check(chosen)
    chain = history.read(chosen.register.name)
    newest = trigger.newest(chain, there(chosen.register.name))
    return trigger.should_retrain(
        trigger.current_inputs(arrived.raw),
        newest,
        trigger.champion(chain),
        trigger.new_rows(arrived.raw, newest.state.raw) if newest else 0,
        trigger.suppressed_rows(chain, suppression.read()),
        because,
        chosen.trigger,
        datetime.now(UTC),
    )


def finish(chosen: params.Params, left: str) -> RetrainingOutcome | None:
    """The version whose retraining was cut off is brought to its end, with the rows that it was made from: promoted or
    held, and people are told. None if code, parameters or the list of what is suppressed are no more what they were.
    """
    chain = history.read(chosen.register.name)
    newest, champion = trigger.newest(chain, {left}), trigger.champion(chain)
    kept = git.blobs(newest.commit, [intake_branch.RAW]) if newest else {}
    if (
        not newest
        or not kept
        or not trigger.same_inputs(trigger.current_inputs(newest.state.raw), newest.state, chosen.trigger)
    ):
        return None
    why = LEFT.format(left)
    verdict = trigger.RetrainDecision(True, (why,), {"newest": left, "champion": champion.name if champion else None})
    arrived = intake.IntakeResult(kept[intake_branch.RAW])
    with exclusive(arrived):
        if left_over(chosen.register.name) != left:
            return None  # it was alive, and has come to its end meanwhile
        get_run_logger().warning(why)
        return run_in_worktree(chosen, arrived, verdict, None)


def exclusive(arrived: intake.IntakeResult) -> AbstractContextManager[None]:
    """Two runs on the same work follow each other: the second finds it done."""
    work = backend.state() / "locks" / f"{trigger.digest(trigger.current_inputs(arrived.raw))}.lock"
    return waiting(work, SAME_WORK, "retraining on the same data, code and parameters")


def run_in_worktree(
    chosen: params.Params, arrived: intake.IntakeResult, verdict: trigger.RetrainDecision, because: str | None
) -> RetrainingOutcome:
    """The pipeline in a worktree of its own, and what follows from its outcome."""
    chain, among = history.read(chosen.register.name), there(chosen.register.name)
    newest, before = trigger.newest(chain, among), trigger.newest(chain, among - {interrupted_version(chain)})
    with worktree.workspace(run_context.run_name()):
        intake.checkout_intake({intake_branch.RAW: arrived.pointer})
        begin_with_the_last_lock(newest)
        if chosen.trigger.incremental:
            begin_with_the_champion(chosen)
        failpoints.point("retrain:in-worktree")
        command = shlex.join(["retune", "retrain", *(["--because", because] if because else [])])
        try:
            outcome = pipeline.pipeline(command, verdict.why)
        except pipeline.RefusedRows as error:
            raise refused(chosen, arrived, verdict, before, error) from None
    return apply_outcome(chosen, arrived, verdict, outcome, before)


def begin_with_the_last_lock(newest: trigger.VersionInputs | None) -> None:
    """The newest version's dvc.lock, so that `why` names what has changed since, and what has not is taken over."""
    if newest and (kept := git.blobs(newest.commit, ["dvc.lock"])):
        Path("dvc.lock").write_bytes(kept["dvc.lock"])


def begin_with_the_champion(chosen: params.Params) -> None:
    """Continue from the champion's weights if they are fit for it, else from the base: never from where the checkout's
    own models/start.json says. A model that writes keeps to that, whoever is champion: it is what it goes on from."""
    if chosen.task != "classify":
        return
    starts.write(None)
    champion = versions.champion(chosen.register.name)
    if champion is None:
        return
    made = record.read(versions.version_folder(champion) / record.FILE)
    begun = starts.start_of(str(champion), champion.tags["seal"], made)
    try:
        if wrong := starts.incompatibilities(starts.weights_facts(made), chosen.train):
            raise ancestry.Incompatible("; ".join(wrong))
        if told := ancestry.suppressed_rows_learned(begun, suppression.read()):
            raise ancestry.Incompatible(f"{', '.join(told)} learned from rows that are suppressed now")
    except ancestry.Incompatible as error:
        get_run_logger().warning("starting from the base, not from %s: %s", champion, error)
        return
    starts.write(begun)


def apply_outcome(
    chosen: params.Params,
    arrived: intake.IntakeResult,
    verdict: trigger.RetrainDecision,
    outcome: run_context.Outcome,
    before: trigger.VersionInputs | None,
) -> RetrainingOutcome:
    """What follows from the outcome: data that made a worse model is set aside, people are told or asked."""
    version, decision = outcome.version, outcome.decision
    failpoints.point("retrain:before-settle")
    if decision.awaiting:
        record_outcome(chosen, told := _of(AWAITING, outcome, arrived, verdict))
        version = approval.suspend(version)  # worker and GPU are free until a person has decided
        return resumed(chosen, version) if not approval.waits(version) else told
    if decision.promote:
        record_outcome(chosen, told := _of(PROMOTED, outcome, arrived, verdict))
        return told
    told = _of(HELD, outcome, arrived, verdict)
    if decision.worse and (parts := new_parts(arrived, before)):
        quarantine_parts(parts, f"{version}, which learned from them, is worse than the champion")
        told = replace(told, why=(*told.why, *taken_back(parts)))
    record_outcome(chosen, told)
    return told


def refused(
    chosen: params.Params,
    arrived: intake.IntakeResult,
    verdict: trigger.RetrainDecision,
    before: trigger.VersionInputs | None,
    error: pipeline.RefusedRows,
) -> pipeline.RefusedRows:
    """People are told that the run was refused, then the rows are set aside: a kill in between has them refused again,
    where the other way round it would leave nothing to refuse and nobody who knows. The report outlives its folder."""
    parts = new_parts(arrived, before)
    if parts:
        copies = refusal_reports.keep(Path.cwd().name)
        paths = refusal_reports.move(error.paths, copies)
        error = pipeline.RefusedRows(error.message, remedy=error.remedy, paths=paths)
    why = "; ".join([str(error), *taken_back(parts)])
    record_outcome(chosen, replace(_told(REFUSED, arrived, verdict), why=(why,)))
    failpoints.point("retrain:refused")
    if parts:
        quarantine_parts(parts, f"the run was refused: {error}")
    return pipeline.RefusedRows(why)


def new_parts(arrived: intake.IntakeResult, before: trigger.VersionInputs | None) -> dict[str, str]:
    """name -> md5 of the parts that came since the newest version, and made the run go wrong. None if that is all."""
    parts = {path: md5 for path, md5 in dvc_store.listing(arrived.raw).items() if path.endswith(".parquet")}
    known = set(dvc_store.listing(before.state.raw).values()) if before else set(parts.values())
    new = {path: md5 for path, md5 in parts.items() if md5 not in known}
    return new if len(new) < len(parts) else {}


def quarantine_parts(parts: dict[str, str], why: str) -> None:
    for part in intake.quarantine(parts.values(), why, datetime.now(UTC).isoformat(timespec="seconds")):
        get_run_logger().warning("set aside: %s (%s)", part, why)


def taken_back(parts: dict[str, str]) -> list[str]:
    return [f"{part} was set aside: `retune quarantine release {part} --reason TEXT` takes it back" for part in parts]


def resumed(chosen: params.Params, version: versions.Version) -> RetrainingOutcome:
    """Somebody has decided about the version for which this run was suspended; what it had found before stays true."""
    decision = succession.decided(version)
    assert decision
    told = RetrainingOutcome(PROMOTED if decision.promote else HELD, decision.reasons, str(version))
    if asked := last(history.read(version.name), run_context.prefect_run()):
        inputs, thresholds = (json.loads(asked.facts[key]) for key in (INPUTS, "Thresholds"))
        told = replace(told, failures=failures(asked), inputs=inputs, thresholds=thresholds)
    record_outcome(chosen, told)
    return told


def _told(outcome: End, arrived: intake.IntakeResult, verdict: trigger.RetrainDecision) -> RetrainingOutcome:
    told = RetrainingOutcome(outcome, verdict.why, inputs=verdict.inputs, thresholds=verdict.thresholds)
    return replace(told, rows=arrived.rows, known=arrived.known, failures=arrived.failures)


def _of(
    word: End, outcome: run_context.Outcome, arrived: intake.IntakeResult, verdict: trigger.RetrainDecision
) -> RetrainingOutcome:
    told = _told(word, arrived, verdict)
    return replace(told, why=tuple(outcome.decision.reasons), version=str(outcome.version))


def run(because: str | None) -> RetrainingOutcome:
    """Run the flow with plain errors; that a source failed is part of what is told."""
    try:
        return pipeline.run_with_plain_errors(lambda: retrain(because))
    except Incomplete as error:
        return error.told
