"""Report the outcome of a retraining: as an artifact of the Prefect run, an entry of the history, and notifications.

Each of the three is read alone, so each says which version it is about and which sources failed.
"""

from dataclasses import dataclass
from typing import Any

from prefect.artifacts import create_markdown_artifact

from flows.execution import run_context
from flows.retraining import notifications
from retune.config import params
from retune.config.common import Notify
from retune.config.params import Params
from retune.config.types import Event
from retune.errors import Broken, RetuneError
from retune.lineage import history, retraining_log
from retune.lineage.entry_facts import End, RetrainingFacts
from retune.registry import versions
from retune.system import failpoints, git
from tasks import notify


@dataclass(frozen=True)
class RetrainingOutcome:
    """What came of a retraining: how it ended, why, and the version that it is about."""

    outcome: End
    why: tuple[str, ...]
    version: str | None = None
    rows: dict[str, int] | None = None  # new and corrected ones by source
    known: dict[str, int] | None = None  # by source: new to the intake, but the newest version was made from them
    failures: dict[str, str] | None = None  # sources from which nothing could be taken
    inputs: dict[str, Any] | None = None
    thresholds: dict[str, Any] | None = None
    data: str | None = None  # what the rows of that version did


def record_outcome(config: Params, outcome: RetrainingOutcome) -> None:
    """Store the outcome as an artifact of this run and as an entry of the history, and notify people."""
    _record(config.register.name, outcome, config.notify)


def record_failure(outcome: RetrainingOutcome) -> None:
    """Record that a retraining broke. If params.yaml cannot be read, no model can be retrained: record it for each."""
    section, wrong = notifications.load_config()
    names = history.names() if wrong else [params.load().register.name]
    if not names:
        notify_outcome("retune", outcome, None, section)
    errors = []
    for name in names:
        try:
            _record(name, outcome, section)
        except RetuneError as error:  # the next one is recorded all the same
            errors.append(str(error))
    if errors:
        raise Broken("; ".join(errors))


def _record(name: str, outcome: RetrainingOutcome, section: Notify) -> None:
    create_markdown_artifact(
        page(name, outcome), key=f"retune-{name.lower().replace('_', '-')}", description=outcome.outcome
    )
    append_to_history(name, outcome, run_context.prefect_run(), section, versions.anchor)


def append_to_history(
    name: str, outcome: RetrainingOutcome, run: str, section: Notify, anchor: history.Anchor = versions.anchor
) -> None:
    before = retraining_log.last(history.read(name))
    facts = RetrainingFacts(
        outcome=outcome.outcome,
        version=outcome.version,
        run=run,
        inputs=outcome.inputs or {},
        thresholds=outcome.thresholds or {},
        failures=outcome.failures or {},
    )
    notify_outcome(name, outcome, before.effective_outcome if before else None, section)  # rather twice than never
    failpoints.point("retrain:told")
    history.append_decision(name, (*outcome.why, *failure_sentences(outcome)), facts.format(), anchor)


def notify_manual_run(outcome: run_context.Outcome, section: Notify) -> None:
    """Notify others of a manual run that changes something for them: another champion, or a question to a person.

    The person who started it sees on the screen that it was held, refused or broke.
    """
    version, decision = outcome.version, outcome.decision
    if outcome.new and (decision.promote or decision.awaiting):
        word = End.PROMOTED if decision.promote else End.AWAITING
        why = (f"{version} was made with `retune run` by {git.identity()}:", *decision.reasons)
        notify_outcome(
            version.name,
            RetrainingOutcome(word, why, str(version), inputs={"champion": decision.champion}),
            None,
            section,
        )


def notify_outcome(name: str, outcome: RetrainingOutcome, before: str | None, section: Notify) -> None:
    for event, title, body in notifications_for(name, outcome, before):
        notifications.notify_people(event, title, body, section)


def failure_sentences(outcome: RetrainingOutcome) -> list[str]:
    """The sources that failed, each in a sentence."""
    return [f"the source {source} failed: {why}" for source, why in (outcome.failures or {}).items()]


Notification = tuple[Event, str, str]  # what happened, title, body


def notifications_for(name: str, outcome: RetrainingOutcome, before: str | None) -> list[Notification]:
    """The messages to people after this outcome; before: the outcome of the last retraining.

    A source that failed is reported with the decision, which each retraining makes once, whatever its outcome is.
    """
    events = [] if outcome.outcome == End.TRAIN else notify.events_after(before, outcome.outcome)
    messages: list[Notification] = []
    for event in events:
        if event == "recovered" and not outcome.failures:
            messages.append((event, f"{name}: recovered", "\n".join(outcome.why)))
        elif event != "recovered":
            data = [f"The data: {outcome.data}."] if outcome.data else []
            body = "\n".join([*outcome.why, *data, *failure_sentences(outcome), *what_to_do(name, outcome)])
            messages.append((event, f"{outcome.version or name}: {event}", body))
    if outcome.failures and outcome.outcome in (End.TRAIN, End.NOTHING):
        messages.append(("failed", f"{name}: a source failed", "\n".join(failure_sentences(outcome))))
    return messages


def what_to_do(name: str, outcome: RetrainingOutcome) -> list[str]:
    """Sentences with the commands that a person can answer with."""
    before = (outcome.inputs or {}).get("champion")
    if outcome.outcome == End.AWAITING:
        approve, reject = (f"`retune {verb} {outcome.version} --reason TEXT`" for verb in ("approve", "reject"))
        return [f"{approve} makes {outcome.version} champion, {reject} does not."]
    if outcome.outcome == End.FAILED and outcome.version:
        return [
            f"The next retraining finishes {outcome.version} first; "
            f"`retune promote {outcome.version} --reason TEXT`, or deleting it in MLflow, ends that."
        ]
    if outcome.outcome == End.HELD:
        forgotten = (outcome.inputs or {}).get("forgotten_rows")
        tainted = (
            [f"{before} learned from {forgotten} rows that are suppressed now, and still serves."] if forgotten else []
        )
        return [
            *tainted,
            f"`retune promote {outcome.version} --reason TEXT` makes {outcome.version} champion all the same.",
        ]
    if outcome.outcome == End.PROMOTED and before:
        return [f"`retune rollback {name} --reason TEXT` goes back to {before}."]
    return []


def page(name: str, outcome: RetrainingOutcome) -> str:
    """The decision as Markdown."""
    lines = [f"# {name}: {outcome.outcome}", "", *(f"- {reason}" for reason in outcome.why), ""]
    if outcome.version:
        lines += [f"Version: `{outcome.version}`", ""]
    if outcome.data:
        lines += [f"The data: {outcome.data}.", ""]
    if outcome.failures:
        lines += ["## Sources that failed", "", *(f"- {source}: {why}" for source, why in outcome.failures.items()), ""]
    for title, values in (("Inputs", outcome.inputs), ("Thresholds", outcome.thresholds), *rows_of(outcome)):
        if values:
            lines += [f"## {title}", "", "| | |", "|---|---|"]
            lines += [f"| {key} | {_cell(value)} |" for key, value in values.items()] + [""]
    return "\n".join(lines)


def rows_of(outcome: RetrainingOutcome) -> list[tuple[str, dict[str, int]]]:
    """The rows that came in, by source, each table with its title."""
    newest = (outcome.inputs or {}).get("newest")
    known_title = f"Rows that the intake did not have, and {newest} was made from"
    return [("New or corrected rows", outcome.rows or {}), (known_title, outcome.known or {})]


def _cell(value: Any) -> str:
    text = "; ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
