"""On a schedule: bring records in, decide, run the pipeline in a worktree, promote or hold, notify people.

    retune retrain --dry-run

Every decision is recorded, also "nothing to do": as an artifact of the Prefect run and as an entry of the history. Rows
that a check refused, or that made a worse model, are quarantined, so that the next run does not stumble over them.

    repair what a killed run left
      ├─ a version waits for an answer ────────── suspend, resume ──> promoted | held
      ├─ a version was interrupted ─ finish it in a worktree ───────> promoted | held | awaiting
      └─ fetch ── decide ─┬─ no reason ────────────────────────────> nothing to do
                          └─ train ── in a worktree ───────────────> promoted | held | awaiting | refused
    whatever breaks on the way ────────────────────────────────────> failed
"""

import shlex
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows import pipeline
from flows.execution import environment_checks, raw_data, recovery, run_context, worktree
from flows.project import environment
from flows.retraining import approval, intake, refusal_reports
from flows.retraining.outcome_report import RetrainingOutcome, failure_sentences, record_failure, record_outcome
from retune.config import params
from retune.data import intake_branch, suppression
from retune.errors import Refused, RetuneError
from retune.lineage import ancestry, history, record
from retune.lineage import parent_version as starts
from retune.lineage.entry_facts import End
from retune.lineage.retraining_log import interrupted_version, last, unanswered_request
from retune.registry import backend, versions
from retune.system import dvc_store, failpoints, git
from retune.system.locks import waiting
from tasks import trigger
from tasks.ingest import Rules
from tasks.monitor import verdict_file
from tasks.promote import reconcile, succession

LEFT = "{} was made, but its retraining was interrupted: finishing it comes first"
LOST = "{0} has no decision, and its inputs have changed since: a person can still run `retune promote {0}`"
LONGEST = 500  # characters of a foreign error in a message to people
SAME_WORK = 12 * 3600  # seconds to wait for another run on the very same data, code and parameters


class Incomplete(Refused):
    """A source failed, and the rest was done. The Prefect run fails with it, so that it does not count as a success."""

    def __init__(self, result: RetrainingOutcome) -> None:
        about = f" {result.version}" if result.version else ""
        super().__init__(f"{result.outcome}{about}, but {'; '.join(failure_sentences(result))}")
        self.result = result


@flow(name="retrain")
def retrain(because: str | None = None, dry_run: bool = False) -> RetrainingOutcome:
    """because: who asks for it, and why; without it, the triggers of params.yaml decide. Raises Incomplete."""
    environment.activate_project()
    result = explain(because) if dry_run else retrain_and_report(because)
    if result.failures:
        raise Incomplete(result)
    return result


def retrain_and_report(because: str | None) -> RetrainingOutcome:
    """Retrain. An error is recorded, and people are notified of it, before it is raised."""
    progress = Progress()
    try:
        return run_steps(progress, because)
    except pipeline.RefusedRows:  # people were notified when the rows were quarantined
        raise
    except Exception as error:
        result = RetrainingOutcome(End.FAILED, (describe_error(error),), progress.unfinished)
        if progress.incoming:
            result = replace(result, failures=progress.incoming.failures)
        try:
            record_failure(result)
        except Exception as second:
            get_run_logger().error("the failure could not be recorded: %s", describe_error(second))
        raise


@dataclass
class Progress:
    """How far a retraining came: the version that it finishes, and what its sources brought."""

    unfinished: str | None = None
    incoming: intake.IntakeResult | None = None


def describe_error(error: Exception) -> str:
    return str(error) if isinstance(error, RetuneError) else f"{type(error).__name__}: {error}"[:LONGEST]


def run_steps(progress: Progress, because: str | None) -> RetrainingOutcome:
    raw_data.require_merged()  # before params.yaml is read
    config = params.load()
    name, log = config.register.name, get_run_logger()
    for sentence in [*recovery.scratch(), *recovery.runs(name), *reconcile.reconcile(name), *recovery.unpushed()]:
        log.warning("repaired: %s", sentence)
    if version := approval.pending():
        return report_answer(config, approval.suspend(version))
    progress.unfinished = unfinished_version(name)
    finished = finish(config, progress.unfinished) if progress.unfinished else None
    if finished and finished.outcome is End.AWAITING:
        return finished
    lost_note = (
        LOST.format(progress.unfinished)
        if progress.unfinished and progress.unfinished == unfinished_version(name)
        else None
    )
    progress.unfinished = None
    because = because or unanswered_request(history.read(name))
    environment_checks.require(config)
    progress.incoming = incoming = run_fetch(config)
    verdict = run_decide(config, incoming, because, lost_note)
    if verdict.train:
        with exclusive(incoming):
            return run_in_worktree(config, incoming, verdict, because)
    result = _result(End.NOTHING, incoming, verdict)
    return replace(finished, failures=result.failures) if finished else result


def unfinished_version(name: str) -> str | None:
    """The newest version, if its retraining was interrupted and the registry still has it."""
    unfinished = interrupted_version(history.read(name))
    return unfinished if unfinished in registered_versions(name) else None


def registered_versions(name: str) -> set[str]:
    """The versions that the registry still has."""
    return {str(version) for version in versions.versions(name)}


def explain(because: str | None) -> RetrainingOutcome:
    """What a retraining would do now, and why. Reads the sources and stores nothing."""
    raw_data.require_merged()
    config = params.load()
    environment_checks.require(config)
    incoming = news(config, intake.fetch_sources(config.fetch, Rules.of(config), say=lambda _: None, enter=False))
    chain = history.read(config.register.name)
    verdict = check_triggers(config, incoming, because or unanswered_request(chain))
    if unfinished := unfinished_version(config.register.name):
        verdict = replace(verdict, train=True, why=(LEFT.format(unfinished), *verdict.why))
    return _result(End.TRAIN if verdict.train else End.NOTHING, incoming, verdict)


def news(config: params.Params, incoming: intake.IntakeResult) -> intake.IntakeResult:
    newest = trigger.newest(history.read(config.register.name), registered_versions(config.register.name))
    return intake.without_known(incoming, newest.state.raw) if newest else incoming


@task(task_run_name="fetch", cache_policy=NO_CACHE)
def run_fetch(config: params.Params) -> intake.IntakeResult:
    incoming = news(config, intake.fetch_sources(config.fetch, Rules.of(config), get_run_logger().info))
    for source, why in incoming.failures.items():
        get_run_logger().error("%s: %s", source, why)
    return incoming


@task(task_run_name="decide", cache_policy=NO_CACHE)
def run_decide(
    config: params.Params, incoming: intake.IntakeResult, because: str | None, lost_note: str | None
) -> trigger.RetrainDecision:
    verdict = check_triggers(config, incoming, because)
    verdict = replace(verdict, why=(*filter(None, [lost_note]), *verdict.why))
    record_outcome(config, _result(End.TRAIN if verdict.train else End.NOTHING, incoming, verdict))
    failpoints.point("retrain:decided")
    return verdict


def check_triggers(
    config: params.Params, incoming: intake.IntakeResult, because: str | None
) -> trigger.RetrainDecision:
    chain = history.read(config.register.name)
    newest, champion = trigger.newest(chain, registered_versions(config.register.name)), trigger.champion(chain)
    rows = trigger.RowChanges(
        new=trigger.new_rows(incoming.raw, newest.state.raw) if newest else 0,
        forgotten=trigger.suppressed_rows(chain, suppression.read()),
    )
    inputs = trigger.current_inputs(incoming.raw)
    if config.trigger.on_quality_loss and not because:
        because = verdict_file.retrain_reason(config.register.name, champion.name if champion else None)
    return trigger.should_retrain(inputs, newest, champion, rows, because, config.trigger, datetime.now(UTC))


def finish(config: params.Params, unfinished: str) -> RetrainingOutcome | None:
    """Finish the version whose retraining was interrupted, with the rows that it was made from: promote or hold it, and
    notify people. None if code, parameters or the suppression list have changed since.
    """
    chain = history.read(config.register.name)
    newest, champion = trigger.newest(chain, {unfinished}), trigger.champion(chain)
    blobs = git.blobs(newest.commit, [intake_branch.RAW]) if newest else {}
    if (
        not newest
        or not blobs
        or not trigger.same_inputs(trigger.current_inputs(newest.state.raw), newest.state, config.trigger)
    ):
        return None
    why = LEFT.format(unfinished)
    verdict = trigger.RetrainDecision(
        True, (why,), {"newest": unfinished, "champion": champion.name if champion else None}
    )
    incoming = intake.IntakeResult(blobs[intake_branch.RAW])
    with exclusive(incoming):
        if unfinished_version(config.register.name) != unfinished:
            return None  # its run was alive, and has ended meanwhile
        get_run_logger().warning(why)
        return run_in_worktree(config, incoming, verdict, None)


def exclusive(incoming: intake.IntakeResult) -> AbstractContextManager[None]:
    """Make a second run on the same inputs wait for the first; then there is nothing left to do for it."""
    work = backend.state() / "locks" / f"{trigger.digest(trigger.current_inputs(incoming.raw))}.lock"
    return waiting(work, SAME_WORK, "retraining on the same data, code and parameters")


def run_in_worktree(
    config: params.Params, incoming: intake.IntakeResult, verdict: trigger.RetrainDecision, because: str | None
) -> RetrainingOutcome:
    """The pipeline in a worktree of its own, and what follows from its outcome."""
    chain, among = history.read(config.register.name), registered_versions(config.register.name)
    newest, before = trigger.newest(chain, among), trigger.newest(chain, among - {interrupted_version(chain)})
    with worktree.workspace(run_context.run_name()):
        intake.checkout_intake({intake_branch.RAW: incoming.pointer})
        begin_with_the_last_lock(newest)
        if config.trigger.incremental:
            begin_with_the_champion(config)
        failpoints.point("retrain:in-worktree")
        command = shlex.join(["retune", "retrain", *(["--reason", because] if because else [])])
        try:
            outcome = pipeline.pipeline(command, verdict.why)
        except pipeline.RefusedRows as error:
            raise report_refusal(config, incoming, verdict, before, error) from None
    return apply_outcome(config, incoming, verdict, outcome, before)


def begin_with_the_last_lock(newest: trigger.VersionInputs | None) -> None:
    """The newest version's dvc.lock, so that `why` names what has changed since, and what has not is taken over."""
    if newest and (blobs := git.blobs(newest.commit, ["dvc.lock"])):
        Path("dvc.lock").write_bytes(blobs["dvc.lock"])


def begin_with_the_champion(config: params.Params) -> None:
    """Continue from the champion's weights if they are fit for it, else from the base, whatever the checkout's own
    models/start.json says. A generative model always starts where that file says, whatever the champion is."""
    if not isinstance(config, params.Classify):
        return
    starts.write(None)
    champion = versions.champion(config.register.name)
    if champion is None:
        return
    champion_record = record.read(versions.version_folder(champion) / record.FILE)
    parent = starts.start_of(str(champion), champion.tags["seal"], champion_record)
    try:
        if wrong := starts.incompatibilities(starts.weights_facts(champion_record), config.train):
            raise ancestry.Incompatible("; ".join(wrong))
        if versions_that_learned := ancestry.suppressed_rows_learned(parent, suppression.read()):
            raise ancestry.Incompatible(f"{', '.join(versions_that_learned)} learned from rows that are suppressed now")
    except ancestry.Incompatible as error:
        get_run_logger().warning("starting from the base, not from %s: %s", champion, error)
        return
    starts.write(parent)


def apply_outcome(
    config: params.Params,
    incoming: intake.IntakeResult,
    verdict: trigger.RetrainDecision,
    outcome: run_context.Outcome,
    before: trigger.VersionInputs | None,
) -> RetrainingOutcome:
    """Act on the outcome: quarantine data that made a worse model, notify people or ask for approval."""
    version, decision = outcome.version, outcome.decision
    failpoints.point("retrain:before-settle")
    if decision.awaiting:
        record_outcome(config, result := _result_of_run(End.AWAITING, outcome, incoming, verdict))
        version = approval.suspend(version)  # worker and GPU are free until a person has decided
        return report_answer(config, version) if not approval.waits(version) else result
    if decision.promote:
        record_outcome(config, result := _result_of_run(End.PROMOTED, outcome, incoming, verdict))
        return result
    result = _result_of_run(End.HELD, outcome, incoming, verdict)
    if decision.worse and (parts := new_parts(incoming, before)):
        quarantine_parts(parts, f"{version}, which learned from them, is worse than the champion")
        result = replace(result, why=(*result.why, *release_commands(parts)))
    record_outcome(config, result)
    return result


def report_refusal(
    config: params.Params,
    incoming: intake.IntakeResult,
    verdict: trigger.RetrainDecision,
    before: trigger.VersionInputs | None,
    error: pipeline.RefusedRows,
) -> pipeline.RefusedRows:
    """Notify people that the run was refused, then quarantine the rows. After a kill in between, the next run refuses
    them again; in the other order nobody would ever know. The report outlives its folder."""
    parts = new_parts(incoming, before)
    if parts:
        copies = refusal_reports.keep(Path.cwd().name)
        paths = refusal_reports.move(error.paths, copies)
        error = pipeline.RefusedRows(error.message, remedy=error.remedy, paths=paths)
    why = "; ".join([str(error), *release_commands(parts)])
    record_outcome(config, replace(_result(End.REFUSED, incoming, verdict), why=(why,)))
    failpoints.point("retrain:refused")
    if parts:
        quarantine_parts(parts, f"the run was refused: {error}")
    return pipeline.RefusedRows(why)


def new_parts(incoming: intake.IntakeResult, before: trigger.VersionInputs | None) -> dict[str, str]:
    """name -> md5 of the parts that came since the newest version, and made the run go wrong. None if that is all."""
    parts = {path: md5 for path, md5 in dvc_store.listing(incoming.raw).items() if path.endswith(".parquet")}
    earlier_parts = set(dvc_store.listing(before.state.raw).values()) if before else set(parts.values())
    new = {path: md5 for path, md5 in parts.items() if md5 not in earlier_parts}
    return new if len(new) < len(parts) else {}


def quarantine_parts(parts: dict[str, str], why: str) -> None:
    for part in intake.quarantine(parts.values(), why, datetime.now(UTC).isoformat(timespec="seconds")):
        get_run_logger().warning("quarantined: %s (%s)", part, why)


def release_commands(parts: dict[str, str]) -> list[str]:
    return [f"{part} was quarantined: `retune quarantine release {part} --reason TEXT` releases it" for part in parts]


def report_answer(config: params.Params, version: versions.Version) -> RetrainingOutcome:
    """Report what a person decided about the version that this run was suspended for, with the inputs of before."""
    decision = succession.decided(version)
    assert decision
    result = RetrainingOutcome(End.PROMOTED if decision.promote else End.HELD, decision.reasons, str(version))
    if before := last(history.read(version.name), run_context.prefect_run()):
        result = replace(result, failures=before.failures, inputs=before.inputs, thresholds=before.thresholds)
    result = replace(result, data=version.tags.get(versions.DATA))
    record_outcome(config, result)
    return result


def _result(outcome: End, incoming: intake.IntakeResult, verdict: trigger.RetrainDecision) -> RetrainingOutcome:
    result = RetrainingOutcome(outcome, verdict.why, inputs=verdict.inputs, thresholds=verdict.thresholds)
    return replace(result, rows=incoming.rows, known=incoming.known_rows, failures=incoming.failures)


def _result_of_run(
    word: End, outcome: run_context.Outcome, incoming: intake.IntakeResult, verdict: trigger.RetrainDecision
) -> RetrainingOutcome:
    result = _result(word, incoming, verdict)
    version = outcome.version
    return replace(result, why=outcome.decision.reasons, version=str(version), data=version.tags.get(versions.DATA))


def run(because: str | None) -> RetrainingOutcome:
    """Run the flow with plain errors. A failed source is part of the outcome."""
    try:
        return pipeline.run_with_plain_errors(lambda: retrain(because))
    except Incomplete as error:
        return error.result
