"""What the history says of retrainings: how each ended, and what the next one takes up again.

A run of the flow writes entries `decided`, which carry its Prefect run id. Together they are one attempt:

    nothing to do ─────────────────────────────────────────────────────────────> ended
    train ─┬─ refused, failed ─────────────────────────────────────────────────> ended
           ├─ killed ──────────> its request is unanswered: the next run answers it
           └─ a version is registered ─┬─ promoted, held ──────────────────────> ended
                                       ├─ awaiting ── a person answers ────────> ended
                                       └─ killed or failed ──> the version is interrupted: the next run finishes it

The registration does not name the run that made it: any attempt may have that began after the version before.

A retraining in which a source failed counts as failed, whatever else came of it: what the others brought may have made
a champion, and still nobody may read that all is well while a source has been dead for weeks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from retune.lineage import history
from retune.lineage.entry_facts import End, RetrainingFacts


@dataclass(frozen=True)
class Report:
    """What one entry says of a retraining."""

    number: int  # of the entry
    facts: RetrainingFacts


@dataclass(frozen=True)
class Attempt:
    """One retraining: everything that its Prefect run reported, in order."""

    run: str
    reports: tuple[Report, ...]

    def may_have_made(self, registration: history.Entry, earlier: history.Entry | None) -> bool:
        """Whether it decided to train after the `earlier` registration and before this one."""
        first = earlier.number if earlier else 0
        starts = (report.number for report in self.reports if report.facts.outcome is End.TRAIN)
        return any(first < start < registration.number for start in starts)

    def has_ended(self, registration: history.Entry) -> bool:
        """Whether it leaves nothing to finish of this version. If it failed, it does only if it failed before that."""
        return any(
            report.facts.is_answer or (report.facts.outcome is End.FAILED and report.number < registration.number)
            for report in self.reports
        )


def attempts(chain: history.Chain) -> list[Attempt]:
    """The retrainings of a model, in the order in which they began."""
    reports: dict[str, list[Report]] = {}
    for report in _reports(chain):
        reports.setdefault(report.facts.run, []).append(report)
    return [Attempt(run, tuple(each)) for run, each in reports.items()]


def _reports(chain: history.Chain) -> Iterator[Report]:
    for entry in chain.entries:
        if facts := entry.retraining:
            yield Report(entry.number, facts)


def last(chain: history.Chain, run: str | None = None) -> RetrainingFacts | None:
    """How the last retraining ended, or the last one of this Prefect run."""
    ends = [report.facts for report in _reports(chain) if report.facts.outcome is not End.TRAIN]
    return next((facts for facts in reversed(ends) if run in (None, facts.run)), None)


def interrupted_version(chain: history.Chain) -> str | None:
    """The newest version, if the retraining that made it was killed, or broke, before it reported what came of it.

    A failure is no answer: what broke is taken up again. Not if a person has decided since who serves.
    """
    registrations = [entry for entry in chain.entries if entry.event == history.REGISTERED]
    if not registrations:
        return None
    *earlier, newest = registrations
    before = earlier[-1] if earlier else None
    makers = [attempt for attempt in attempts(chain) if attempt.may_have_made(newest, before)]
    if all(attempt.has_ended(newest) for attempt in makers) or _has_answer(chain, newest):
        return None
    return newest.version_name


def _has_answer(chain: history.Chain, registration: history.Entry) -> bool:
    """Whether a person, or a retraining that names this version, has decided about it."""
    since = [entry for entry in chain.entries if entry.number > registration.number]
    return any(_is_by_a_person(entry) or _answers_about(entry, registration.version_name) for entry in since)


def _answers_about(entry: history.Entry, version: str) -> bool:
    facts = entry.retraining
    return facts is not None and facts.is_answer and facts.version == version


def _is_by_a_person(entry: history.Entry) -> bool:
    return entry.event in (history.APPROVED, history.REJECTED) or entry.how in (history.BY_HAND, history.ROLLBACK)


def unanswered_request(chain: history.Chain) -> str | None:
    """For what reason somebody asked for the newest retraining, if it was killed before it had made a version."""
    reports = list(_reports(chain))
    starts = [position for position, report in enumerate(reports) if report.facts.outcome is End.TRAIN]
    if not starts:
        return None
    start, later_reports = reports[starts[-1]], reports[starts[-1] + 1 :]
    if any(entry.event == history.REGISTERED and entry.number > start.number for entry in chain.entries):
        return None
    run, request = start.facts.run, start.facts.request
    is_answered = any(report.facts.run == run or report.facts.request == request for report in later_reports)
    return None if is_answered else request


def last_success(chain: history.Chain) -> datetime | None:
    """When a retraining last came to an end as it should, also one that was started by hand."""
    ends = (end for entry in chain.entries if (end := _successful_end(entry, chain)))
    return max((datetime.fromisoformat(end.at) for end in ends), default=None)


def _successful_end(entry: history.Entry, chain: history.Chain) -> history.Entry | None:
    """The entry with which the retraining that this one reports came to a good end, if it did.

    A candidate that waits for a person comes to its end with the answer, be it yes or no: no flow run of a retraining
    by hand goes on then and says so in an entry of its own.
    """
    facts = entry.retraining
    match facts and facts.effective_outcome:
        case End.PROMOTED | End.HELD | End.NOTHING:
            return entry
        case End.AWAITING:
            answers = (each for each in chain.entries if each.event in (history.APPROVED, history.REJECTED))
            return next((answer for answer in answers if facts and answer.version_name == facts.version), None)
        case _:
            return None
