"""Which verdict of a person a version learned a row's label by; what else is searched, `test_ancestry` holds."""

from types import SimpleNamespace

from retune.data import label_verdicts
from retune.data.label_verdicts import Verdict, digest
from tasks.trace import search
from tasks.trace.search import LabelVerdict
from tests.support.git_repo import git

VERDICT = Verdict("T-1", digest("my money"), "billing", "refunds", "Ada", "2026-11-30")


def commit(*verdicts):
    label_verdicts.write(verdicts)
    git("add", "-A")
    git("commit", "-q", "--allow-empty", "-m", "x")
    return git("rev-parse", "HEAD")


def test_a_label_is_traced_to_the_verdict_that_stood_when_the_version_was_made(git_repository):
    without = git("rev-parse", "HEAD")  # a version of before there were verdicts
    entries = [
        SimpleNamespace(commit=commit_, version_name=f"classifier/{number}")
        for number, commit_ in enumerate((without, commit(), commit(VERDICT)), 1)
    ]
    seen_as = [(entry, {"text": "my money", "label": "refunds"}) for entry in entries]
    expected = LabelVerdict("billing", "refunds", "Ada", "2026-11-30", ["classifier/3"])
    assert search._verdicts("T-1", seen_as) == [expected]
    assert search._verdicts("T-2", seen_as) == []
    other_words = [(entry, {"text": "my money!", "label": "refunds"}) for entry in entries]
    assert search._verdicts("T-1", other_words) == []
