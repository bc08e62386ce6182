"""What `retune review labels` prints, with the thinking of tasks/data_quality/review.py behind it."""

import json

import pytest

from retune.data.label_verdicts import Verdict
from retune.evaluation.label_review import Import, Sheet
from tasks.data_quality import review

VERDICT = Verdict("T-1", "0" * 64, "billing", "refunds", "Ada", "2026-11-30")


@pytest.fixture
def answering(clone, monkeypatch):
    """Calls the import with such a result."""

    def call(*arguments, **lists):
        monkeypatch.setattr(review, "import_", lambda *_: Import({"T-1": VERDICT}, **lists))
        return clone.call("review", "labels", "import", "verdicts.csv", *arguments)

    return call


def test_an_import_says_what_became_of_each_verdict(answering):
    done = answering(added=["T-1"], known=["T-2"], changed=["T-3"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "1 verdicts added, 0 replaced, 1 there already. data/label_verdicts.json holds 1.",
        "not taken, as text or label changed since or no row has the id (1): T-3",
        "`git commit data/label_verdicts.json` keeps them; `retune run` applies them.",
    ]


def test_reviewers_who_disagree_are_named_and_the_answer_is_no(answering):
    done = answering("--json", conflicts=["T-1: Ada says refunds; Bob says keep"])
    assert done.returncode == 1 and "T-1: Ada says refunds; Bob says keep" in done.stderr
    assert json.loads(done.stdout)["conflicts"] == ["T-1: Ada says refunds; Bob says keep"]


def test_an_export_names_its_files(clone, monkeypatch, tmp_path):
    files = {"csv": tmp_path / "a.csv", "page": tmp_path / "a.html"}
    monkeypatch.setattr(review, "export", lambda count, out, say: (Sheet("abc", [{}] * count, []), files))
    done = clone.call("review", "labels", "export", "--rows", "3")
    assert done.stdout.splitlines()[:2] == ["3 rows whose label is doubtful", f"  {files['csv']}"]
    done = clone.call("review", "labels", "export", "--json")
    assert json.loads(done.stdout)["rows"] == 50
