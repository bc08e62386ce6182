import csv
import io
import re

import pytest

from retune.data.label_verdicts import Verdict, digest
from retune.errors import Refused, WrongUse
from retune.evaluation import label_review
from retune.evaluation.label_review import Answer

ROWS = [
    {"id": "T-1", "text": "my money", "label": "billing", "suggested": "refunds", "score": 0.91},
    {"id": "T-2", "text": "=asdf", "label": "billing", "suggested": "=other", "score": 0.72},
]
LABELS = ("billing", "refunds", "=other")
SHEET = label_review.sheet_of(ROWS, LABELS)
DAY = "2026-11-30"


def filled(path, *verdicts, **cells):
    """The sheet as a spreadsheet saves it, with a verdict and a new label for each row."""
    lines = list(csv.DictReader(io.StringIO(label_review.as_csv(SHEET).decode("utf-8-sig"))))
    for line, (verdict, new_label) in zip(lines, verdicts, strict=True):
        line |= {"verdict": verdict, "new_label": new_label, **cells}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, label_review.COLUMNS)
        writer.writeheader()
        writer.writerows(lines)
    return path


def read(path, **options):
    return label_review.read_answers(
        [path], LABELS, **{"allow_new": False, "command": "retune review labels export", **options}
    )


def test_each_verdict_says_what_becomes_of_the_label(tmp_path):
    answers = read(filled(tmp_path / "ada.csv", ("suggested", ""), ("DROP ", "")))
    assert [(each.id, each.after, each.reviewer) for each in answers] == [
        ("T-1", "refunds", "ada"),
        ("T-2", None, "ada"),
    ]
    answers = read(filled(tmp_path / "b.csv", ("keep", ""), ("", "refunds"), reviewer="Bob"))
    assert [(each.after, each.reviewer) for each in answers] == [("billing", "Bob"), ("refunds", "Bob")]
    assert answers[1].text_sha256 == digest("=asdf")


def test_no_cell_is_a_formula_and_labels_come_back_as_they_were(tmp_path):
    sheet = label_review.as_csv(SHEET).decode("utf-8-sig")
    assert not [cell for row in csv.reader(io.StringIO(sheet)) for cell in row if cell.startswith("=")]
    assert read(filled(tmp_path / "a.csv", ("", ""), ("suggested", "")))[0].after == "=other"


@pytest.mark.parametrize(
    ("verdict", "new_label", "message"),
    [
        ("maybe", "", "line 3.*the verdict is 'maybe'"),
        ("other", "", "names no new_label"),
        ("keep", "refunds", "stands beside the new_label 'refunds'"),
        ("other", "refund", "no row of the data has the label 'refund'.*--allow-new"),
    ],
)
def test_a_line_that_cannot_be_is_named(tmp_path, verdict, new_label, message):
    with pytest.raises(Refused, match=message):
        read(filled(tmp_path / "a.csv", ("", ""), (verdict, new_label)))


def test_a_new_label_is_taken_from_whoever_asks_for_it(tmp_path):
    assert read(filled(tmp_path / "a.csv", ("", ""), ("other", "new one")), allow_new=True)[0].after == "new one"


def test_files_that_are_no_sheet_or_were_changed_are_refused(tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n", "utf-8")
    with pytest.raises(WrongUse, match="Import a sheet of `retune review labels export`"):
        read(tmp_path / "other.csv")
    with pytest.raises(Refused, match="text_sha256 is 'x'"):
        read(filled(tmp_path / "a.csv", ("keep", ""), ("", ""), text_sha256="x"))
    twice = filled(tmp_path / "c.csv", ("keep", ""), ("drop", ""), id="T-1")
    with pytest.raises(Refused, match="gave two verdicts on row T-1"):
        read(twice)


def test_the_page_holds_whatever_was_written_as_text_alone():
    wild = [{**ROWS[0], "id": "a\u202eb", "text": "<script>alert(1)</script>", "label": '" onload="alert(1)'}]
    page = label_review.as_page(label_review.sheet_of(wild, ["</datalist><script>"]))
    assert page.count("<script>") == 1 and "&lt;script&gt;alert" in page and 'data-id="a\u202eb"' in page
    assert re.findall(r'(?:src|href)="([^"]*)"|https?:', page) == ["data:,"]


CURATED = {"T-1": ("my money", "billing"), "T-2": ("=asdf", "billing")}


def answer(name="T-1", after="refunds", reviewer="Ada", label="billing"):
    return Answer(name, digest(CURATED[name][0]), label, after, reviewer)


def merge(verdicts, *answers, rows=CURATED, day=DAY):
    return label_review.merge({each.id: each for each in verdicts}, answers, rows, day)


def test_the_same_verdicts_twice_change_nothing():
    first = merge([], answer(), answer("T-2", None))
    assert first.added == ["T-1", "T-2"]
    again = merge(first.verdicts.values(), answer(), answer("T-2", None), day="2026-12-24")
    assert (again.known, again.verdicts) == (["T-1", "T-2"], first.verdicts)
    applied = {"T-1": ("my money", "refunds")}  # and T-2 is dropped
    again = merge(first.verdicts.values(), answer(), answer("T-2", None), rows=applied)
    assert (again.known, again.changed) == (["T-1", "T-2"], [])


def test_reviewers_who_agree_are_both_named_and_those_who_do_not_decide_nothing():
    both = merge([], answer(), answer(reviewer="Bob"))
    assert both.verdicts["T-1"].reviewer == "Ada and Bob"
    torn = merge([], answer(), answer(after="billing", reviewer="Bob"), answer("T-2"))
    assert torn.conflicts == ["T-1: Ada says refunds; Bob says keep"]
    assert set(torn.verdicts) == {"T-2"}


def test_a_verdict_stands_against_another_reviewer_and_gives_way_to_its_own():
    standing = merge([], answer()).verdicts
    other = merge(standing.values(), answer(after=None, reviewer="Bob"))
    assert other.conflicts == [f"T-1: billing → refunds (Ada, {DAY}) stands; Bob says drop"]
    assert other.verdicts == standing
    later = merge(standing.values(), answer(after=None))
    assert (later.replaced, later.verdicts["T-1"].after) == (["T-1"], None)


def test_a_verdict_on_a_row_that_changed_since_is_told_and_not_taken():
    rows = {"T-1": ("my money!", "billing")}
    result = merge([], answer(), answer("T-2"), rows=rows)
    assert (result.changed, result.verdicts) == (["T-1", "T-2"], {})


def test_whoever_reviews_a_relabelled_row_starts_from_the_label_of_the_records():
    standing = merge([], answer()).verdicts
    applied = {"T-1": ("my money", "refunds")}
    result = merge(standing.values(), answer(after="=other", reviewer="Bob", label="refunds"), rows=applied)
    assert result.verdicts["T-1"] == Verdict("T-1", digest("my money"), "billing", "=other", "Bob", DAY)
