"""A retraining gives account: an artifact of the Prefect run, an entry of the history, and a word to people.

Whoever reads one of the three was not there: each says which version it is about and which sources failed.
"""

import json
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
from retune.lineage.retraining_log import AWAITING, FAILED, HELD, NOTHING, PROMOTED, TRAIN, End
from retune.registry import versions
from retune.system import failpoints, git
from tasks import notify


@dataclass(frozen=True)
class RetrainingOutcome:
    """What came of a retraining: a word of `retune.lineage.retraining_log`, why, and the version that it is about."""

    outcome: End
    why: tuple[str, ...]
    version: str | None = None
    rows: dict[str, int] | None = None  # new and corrected ones by source
    known: dict[str, int] | None = None  # by source: new to the intake, but not since the newest version
    failures: dict[str, str] | None = None  # sources from which nothing could be taken
    inputs: dict[str, Any] | None = None
    thresholds: dict[str, Any] | None = None


def record_outcome(config: Params, outcome: RetrainingOutcome) -> None:
    """The decision as an artifact of this run and as an entry of the history; people are told what concerns them."""
    _record(config.register.name, outcome, config.notify)


def keep_end(outcome: RetrainingOutcome) -> None:
    """The end of a retraining that broke. If params.yaml cannot be read, no model can be retrained: each is told of."""
    section, wrong = notifications.load_config()
    names = history.names() if wrong else [params.load().register.name]
    if not names:
        notify_outcome("retune", outcome, None, section)
    refused = []
    for name in names:
        try:
            _record(name, outcome, section)
        except RetuneError as error:  # the next one is told of all the same
            refused.append(str(error))
    if refused:
        raise Broken("; ".join(refused))


def _record(name: str, outcome: RetrainingOutcome, section: Notify) -> None:
    create_markdown_artifact(
        page(name, outcome), key=f"retune-{name.lower().replace('_', '-')}", description=outcome.outcome
    )
    append_to_history(name, outcome, run_context.prefect_run(), section, versions.anchor)


def append_to_history(
    name: str, outcome: RetrainingOutcome, run: str, section: Notify, anchor: history.Anchor = versions.anchor
) -> None:
    before = retraining_log.last(history.read(name))
    facts = {
        retraining_log.DECISION: outcome.outcome,
        retraining_log.VERSION_FACT: outcome.version or "no version",
        retraining_log.INPUTS: json.dumps(outcome.inputs or {}, ensure_ascii=False),
        "Thresholds": json.dumps(outcome.thresholds or {}),
        retraining_log.RUN: run,
        **(
            {retraining_log.FAILED_SOURCES: json.dumps(outcome.failures, ensure_ascii=False)}
            if outcome.failures
            else {}
        ),
    }
    notify_outcome(
        name, outcome, retraining_log.effective_outcome(before), section
    )  # first: rather heard twice than never
    failpoints.point("retrain:told")
    history.append_decision(name, (*outcome.why, *failed(outcome)), facts, anchor)


def notify_manual_run(outcome: run_context.Outcome, section: Notify) -> None:
    """Of a run by hand others hear what changes something for them: another champion, or a question to a person.

    That it was held, refused or broke stands on the screen of who started it.
    """
    version, decision = outcome.version, outcome.decision
    if outcome.new and (decision.promote or decision.awaiting):
        word = PROMOTED if decision.promote else AWAITING
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


def failed(outcome: RetrainingOutcome) -> list[str]:
    """The sources that failed, each in a sentence."""
    return [f"the source {source} failed: {why}" for source, why in (outcome.failures or {}).items()]


Notification = tuple[Event, str, str]  # what happened, title, body


def notifications_for(name: str, outcome: RetrainingOutcome, before: str | None) -> list[Notification]:
    """What people are told after this outcome; `before`: the word for the last one.

    A source that failed is told with the decision, which each retraining makes once, whatever comes of it.
    """
    events = [] if outcome.outcome == TRAIN else notify.after(before, outcome.outcome)
    messages: list[Notification] = []
    for event in events:
        if event == "recovered" and not outcome.failures:
            messages.append((event, f"{name}: recovered", "\n".join(outcome.why)))
        elif event != "recovered":
            body = "\n".join([*outcome.why, *failed(outcome), *what_to_do(name, outcome)])
            messages.append((event, f"{outcome.version or name}: {event}", body))
    if outcome.failures and outcome.outcome in (TRAIN, NOTHING):
        messages.append((FAILED, f"{name}: a source failed", "\n".join(failed(outcome))))
    return messages


def what_to_do(name: str, outcome: RetrainingOutcome) -> list[str]:
    """The commands with which a person answers this outcome."""
    before = (outcome.inputs or {}).get("champion")
    if outcome.outcome == AWAITING:
        approve, reject = (f"`retune {verb} {outcome.version} --reason TEXT`" for verb in ("approve", "reject"))
        return [f"{approve} makes {outcome.version} champion, {reject} does not."]
    if outcome.outcome == FAILED and outcome.version:
        return [
            f"The next retraining goes on with {outcome.version}, before all else; "
            f"`retune promote {outcome.version} --reason TEXT`, or deleting it in MLflow, ends that."
        ]
    if outcome.outcome == HELD:
        forgotten = (outcome.inputs or {}).get("forgotten_rows")
        tainted = (
            [f"{before} learned from {forgotten} rows that are suppressed now, and still serves."] if forgotten else []
        )
        return [
            *tainted,
            f"`retune promote {outcome.version} --reason TEXT` makes {outcome.version} champion all the same.",
        ]
    if outcome.outcome == PROMOTED and before:
        return [f"`retune rollback {name} --reason TEXT` goes back to {before}."]
    return []


def page(name: str, outcome: RetrainingOutcome) -> str:
    """The decision as Markdown."""
    lines = [f"# {name}: {outcome.outcome}", "", *(f"- {reason}" for reason in outcome.why), ""]
    if outcome.version:
        lines += [f"Version: `{outcome.version}`", ""]
    if outcome.failures:
        lines += ["## Sources that failed", "", *(f"- {source}: {why}" for source, why in outcome.failures.items()), ""]
    for title, values in (("Inputs", outcome.inputs), ("Thresholds", outcome.thresholds), *rows_of(outcome)):
        if values:
            lines += [f"## {title}", "", "| | |", "|---|---|"]
            lines += [f"| {key} | {_cell(value)} |" for key, value in values.items()] + [""]
    return "\n".join(lines)


def rows_of(outcome: RetrainingOutcome) -> list[tuple[str, dict[str, int]]]:
    """What came in, by source, under what it is."""
    newest = (outcome.inputs or {}).get("newest")
    known_title = f"Rows that the intake did not have, and {newest} was made from"
    return [("New or corrected rows", outcome.rows or {}), (known_title, outcome.known or {})]


def _cell(value: Any) -> str:
    text = "; ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
