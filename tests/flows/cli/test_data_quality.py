"""The commands that look at the records, as people call them, with the thinking of tasks/data_quality behind them."""

import json
from contextlib import chdir

import pytest

from tasks.data_quality import answers, labels, sufficiency
from tasks.data_quality.answers import Contradiction, DoubtfulAnswer
from tasks.data_quality.labels import AlikeLabels, Doubt, Examination
from tasks.data_quality.sufficiency import LabelNeed, Point, Sufficiency
from tests.support.curated import write_curated_rows

RANKED = [Doubt(f"T-{row}", f"words\nof {row}", "billing", "refunds", 1 - row / 50) for row in range(50)]
EXAMINATION = Examination(
    rows=50,
    seconds=3.2,
    base="package:a-base",
    reviewed=4,
    unjudged={"typo": 2},
    ranked=RANKED,
    outliers=RANKED[7:9],
    confused=[AlikeLabels("billing", "refunds", 60, 0.4)],
)


@pytest.fixture
def examined(clone, monkeypatch):
    def examine(say):
        say("judging")
        print("still judging")  # as long work does
        return EXAMINATION

    monkeypatch.setattr(labels, "examine_clone", examine)
    return clone


def test_json_is_a_bare_list_of_the_doubtful_rows_and_nothing_else(examined):
    done = examined.call("data", "labels", "--json")
    listed = json.loads(done.stdout)
    assert [row["id"] for row in listed] == [f"T-{row}" for row in range(26)]
    assert set(listed[0]) == {"id", "text", "label", "suggested", "score"}
    assert "still judging" in done.stderr


def test_a_limit_lists_as_many_whatever_their_score(examined):
    assert len(json.loads(examined.call("data", "labels", "--json", "--limit", "40").stdout)) == 40
    assert len(json.loads(examined.call("data", "labels", "--json", "--limit", "3").stdout)) == 3


def test_the_table_says_what_it_leaves_out_and_what_else_there_is(examined):
    lines = examined.call("data", "labels").stdout.splitlines()
    assert lines[1].split()[:4] == ["T-0", "1.000", "billing", "refunds"] and "words\\nof 0" in lines[1]
    assert lines[21:] == [
        "… and 6 more: --limit 26 or --json lists them",
        "not judged: 2 rows of typo, too few to judge a label by",
        "not listed: 4 rows whose label a person has reviewed",
        "2 rows are far from all others, such as T-7: --outliers",
        "hard to tell apart: billing and refunds, 40% of whose rows look like the other's: --confused",
        "26 of 50 rows have a doubtful label; judged in 3 s by package:a-base",
    ]


def test_outliers_and_confused_labels_are_lists_of_their_own(examined):
    assert [row["id"] for row in json.loads(examined.call("data", "labels", "--outliers", "--json").stdout)] == [
        "T-7",
        "T-8",
    ]
    pairs = json.loads(examined.call("data", "labels", "--confused", "--json").stdout)
    assert pairs == [{"label": "billing", "other": "refunds", "rows": 60, "share": 0.4}]
    assert "40%" in examined.call("data", "labels", "--confused").stdout
    assert examined.call("data", "labels", "--confused", "--outliers").returncode == 2


def test_doubtful_answers_are_a_table_or_a_list(clone, monkeypatch):
    ranked = [DoubtfulAnswer(f"Q-{row}", "a question", "an\nanswer", 9.0 - row) for row in range(30)]
    pair = Contradiction("Q-1", "Q-2", "a question", "another", 0.93)
    examination = answers.Examination(30, 2.0, "package:a-base", ranked, [pair])
    monkeypatch.setattr(answers, "examine_clone", lambda say: examination)
    assert [row["id"] for row in json.loads(clone.call("data", "answers", "--json").stdout)] == [
        f"Q-{row}" for row in range(6)
    ]
    lines = clone.call("data", "answers").stdout.splitlines()
    assert lines[1].split()[:2] == ["Q-0", "9.0"] and "an\\nanswer" in lines[1]
    assert lines[7:] == [
        "preferences that contradict each other: 1 pairs, such as Q-1 and Q-2: --contradictions",
        "6 of 30 answers are doubtful; judged in 2 s by package:a-base",
    ]
    assert json.loads(clone.call("data", "answers", "--contradictions", "--json").stdout)[0]["similarity"] == 0.93
    assert "Q-2" in clone.call("data", "answers", "--contradictions").stdout.splitlines()[1]


def test_a_task_with_labels_has_no_answers_to_judge(clone):
    done = clone.call("data", "answers")
    assert done.returncode == 2 and "`retune data labels` judges those" in done.stderr


def test_without_rows_and_with_too_few_it_is_refused_in_words(own_clone):
    done = own_clone.call("data", "labels", "--json")
    assert (done.returncode, done.stdout) == (1, "") and "`retune ingest FILE` brings them in" in done.stderr
    with chdir(own_clone.folder):
        write_curated_rows([(str(row), "hello", "a") for row in range(4)])
    done = own_clone.call("data", "labels")
    assert done.returncode == 1 and "too few to judge labels by" in done.stderr


def test_a_rows_story_is_told_and_an_unknown_id_is_refused(own_clone):
    table = own_clone.folder / "t.csv"
    table.write_text("id,text,label\n" + "".join(f"T-{n},words {n},a\n" for n in range(12)))
    assert own_clone.call("ingest", table, "--id", "id").returncode == 0
    story = json.loads(own_clone.call("data", "show", "T-3", "--json").stdout)
    assert (story["arrivals"][0]["row"], story["arrivals"][0]["text"]) == (4, "words 3")
    assert (story["steps"], story["curated"], story["versions"]) == ([], None, [])
    lines = own_clone.call("data", "show", "T-3").stdout.splitlines()
    assert "came in as row 4 of data/raw/" in lines[0] and lines[-1] == "not curated yet: `dvc repro curate`"
    done = own_clone.call("data", "show", "nobody")
    assert done.returncode == 1 and "has a row 'nobody'" in done.stderr


def test_sufficiency_names_the_labels_to_collect_and_draws_the_curve(clone, monkeypatch, tmp_path):
    needs = [
        LabelNeed("refunds", 192, 0.8, 0.06, 0.02, 0.09, 200, "collect 200 more of refunds"),
        LabelNeed("billing", 300, 0.9, 0.001, 0.0, 0.01, 0, "enough"),
    ]
    curve = [Point(100, 0.7), Point(400, 0.85)]
    facts = (492, 2, "a-base", 9.0, curve, Point(800, 0.88), 0.03, 0.01, 0.04, "collect 492 more", needs, {"typo": 2})
    monkeypatch.setattr(sufficiency, "examine_clone", lambda say: Sufficiency(*facts))
    done = clone.call("data", "sufficiency", "--plot", tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    lines = done.stdout.splitlines()
    assert lines[3].split() == ["800", "0.8800", "forecast"]
    assert lines[4].startswith("twice the rows: +0.0300 [+0.0100, +0.0400] accuracy. Overall: collect 492 more")
    assert lines[6].startswith("collect 200 more of refunds")
    assert lines[7:] == [
        "enough: 1 labels; --json lists them",
        "not judged: 2 rows of typo, too few for a curve: collect more",
    ]
    answer = json.loads(clone.call("data", "sufficiency", "--json").stdout)
    assert [need["verdict"] for need in answer["by_label"]] == ["collect 200 more of refunds", "enough"]
