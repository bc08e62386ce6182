import csv
import io
import json
import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from retune.errors import Refused, WrongUse
from retune.evaluation import human_review, human_verdicts, statistics
from retune.evaluation.human_verdicts import Verdict
from retune.evaluation.statistics import ALIKE, OURS, THEIRS

PAIRS = pd.DataFrame(
    {
        "id": [f"Q-{number}" for number in range(40)],
        "prompt": [f"Where is order {number}?" for number in range(40)],
        "ours": [f"Order {number} is on its way." for number in range(40)],
        "theirs": [f"no idea about {number}" for number in range(38)] + ["Order 38 is on its way.", "=HYPERLINK(1)"],
    }
)


@pytest.fixture
def exported_sheet():
    return human_review.draw_sheet(PAIRS, "writer/2", "writer/1", rows=100, seed=17)


def filled(path, sheet, key, verdict, reviewer=""):
    """The sheet as a spreadsheet saves it, with the verdict that `verdict(id, which side is ours)` gives."""
    lines = list(csv.DictReader(io.StringIO(human_review.as_csv(sheet, key).decode("utf-8-sig"))))
    for line in lines:
        line |= {"verdict": verdict(line["id"], key.ours_is[line["id"]]), "reviewer": reviewer}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, human_review.COLUMNS)
        writer.writeheader()
        writer.writerows(lines)
    return path


def test_sides_are_shuffled_and_only_the_key_knows_them(exported_sheet):
    sheet, key = exported_sheet
    assert list(sheet.columns) == ["id", "prompt", "A", "B"]
    assert 10 < sum(side == "A" for side in key.ours_is.values()) < 29
    for row in sheet.to_dict("records"):
        number = row["id"].removeprefix("Q-")
        assert row[key.ours_is[row["id"]]] == f"Order {number} is on its way."
    both = human_review.as_csv(sheet, key).decode() + human_review.as_page(sheet, key)
    assert not re.search(r"writer/|ours|theirs", both)


def test_rows_with_two_equal_answers_are_left_out_and_counted(exported_sheet):
    sheet, key = exported_sheet
    assert len(sheet) == 39 and key.alike == 1 and "Q-38" not in set(sheet["id"])
    with pytest.raises(Refused, match="nothing to review"):
        human_review.draw_sheet(PAIRS.assign(theirs=PAIRS["ours"]), "a/1", "a/2", 10, 1)


def test_one_seed_one_sheet_another_seed_another():
    first, again, other = (human_review.draw_sheet(PAIRS, "a/1", "a/2", 20, seed) for seed in (1, 1, 2))
    assert first[1] == again[1] and first[0].equals(again[0])
    assert other[1].sheet != first[1].sheet


def test_no_cell_of_the_sheet_is_a_formula(exported_sheet):
    sheet = human_review.as_csv(*exported_sheet).decode("utf-8-sig")
    assert "'=HYPERLINK(1)" in sheet
    assert not [cell for row in csv.reader(io.StringIO(sheet)) for cell in row if cell.startswith("=")]


def test_the_page_holds_whatever_was_written_as_text_alone():
    wild = PAIRS.assign(theirs="<script>alert(1)</script>", prompt='" onload="alert(1)')
    page = human_review.as_page(*human_review.draw_sheet(wild, "a/1", "a/2", 3, 1))
    assert page.count("<script>") == 1 and "&lt;script&gt;alert" in page
    assert re.findall(r'(?:src|href)="([^"]*)"|https?:', page) == ["data:,"]


def test_the_page_hands_ids_back_to_the_letter():
    pairs = PAIRS.head(2).assign(id=["a\u202eb", "<c>"])
    page = human_review.as_page(*human_review.draw_sheet(pairs, "a/1", "a/2", 2, 1))
    assert 'data-id="a\u202eb"' in page and 'data-id="&lt;c&gt;"' in page


def test_the_key_comes_back_from_its_folder(exported_sheet, tmp_path):
    _, key = exported_sheet
    human_review.write_key(key, tmp_path)
    assert human_review.read_key(key.sheet, tmp_path) == key
    with pytest.raises(WrongUse, match="no key"):
        human_review.read_key("0" * 12, tmp_path)


def test_verdicts_come_back_without_their_sides(exported_sheet, tmp_path):
    sheet, key = exported_sheet
    first = filled(tmp_path / "ada.csv", sheet, key, lambda row, ours: ours.lower())
    second = filled(tmp_path / "b.csv", sheet, key, lambda row, ours: "tie" if row == "Q-1" else ours, "Bob")
    verdicts = human_verdicts.read_verdicts([first, second], key)
    assert {answer.reviewer for answer in verdicts} == {"ada", "Bob"}
    score = human_verdicts.score(verdicts, key, 0.95)
    assert (score.wins, score.losses, score.ties, score.answered) == (38, 0, 1, 39)
    assert score.verdict == "better" and score.p < 1e-9
    assert "writer/2 is better than writer/1: 38 won" in str(score)
    assert score.agreement[0].reviewers == ("Bob", "ada") and score.agreement[0].agreed == pytest.approx(38 / 39)
    assert human_verdicts.sheet_of([first, second]) == key.sheet
    stored = json.dumps(human_verdicts.as_record(score, verdicts, key))
    assert "Order" not in stored and "no idea" not in stored


def test_a_spreadsheet_that_saves_semicolons_is_read_too(exported_sheet, tmp_path):
    _, key = exported_sheet
    path = tmp_path / "carla.csv"
    path.write_text(f"\ufeffsheet;id;verdict\r\n{key.sheet};Q-3;A\r\n{key.sheet};Q-4;\r\n", "utf-8")
    assert [answer.id for answer in human_verdicts.read_verdicts([path], key)] == ["Q-3"]


@pytest.mark.parametrize(
    ("line", "message"),
    [("Q-3,C,ada", "line 2.*'C'"), ("Q-99,A,ada", "no row 'Q-99'"), ("Q-3,A,ada\n{sheet},Q-3,B,ada", "two verdicts")],
)
def test_a_line_that_cannot_be_is_named(exported_sheet, tmp_path, line, message):
    _, key = exported_sheet
    path = tmp_path / "sheet.csv"
    path.write_text(f"sheet,id,verdict,reviewer\n{key.sheet},{line.format(sheet=key.sheet)}\n", "utf-8")
    with pytest.raises(Refused, match=message):
        human_verdicts.read_verdicts([path], key)


def test_files_that_are_no_sheet_or_of_two_are_refused(tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n", "utf-8")
    with pytest.raises(WrongUse, match="lacks the column"):
        human_verdicts.sheet_of([tmp_path / "other.csv"])
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text(f"sheet,id,verdict\n{name},1,A\n", "utf-8")
    with pytest.raises(WrongUse, match="of one sheet"):
        human_verdicts.sheet_of([tmp_path / "a.csv", tmp_path / "b.csv"])


def test_most_reviewers_decide_a_row_and_as_many_on_either_side_tie(exported_sheet):
    _, key = exported_sheet
    verdicts = [Verdict("Q-1", "a", OURS), Verdict("Q-1", "b", OURS), Verdict("Q-1", "c", THEIRS)]
    verdicts += [Verdict("Q-2", "a", OURS), Verdict("Q-2", "b", THEIRS), Verdict("Q-3", "a", THEIRS)]
    score = human_verdicts.score(verdicts, key, 0.95)
    assert (score.wins, score.losses, score.ties, score.rows, score.answered) == (1, 1, 1, 39, 3)
    assert score.verdict == "undecided" and score.p == 1


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_sign_test_is_the_exact_binomial_one(wins, losses):
    expected = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert statistics.sign_test(wins, losses) == pytest.approx(expected)


SAID = st.sampled_from([OURS, THEIRS, ALIKE])


@given(st.lists(st.tuples(SAID, SAID), min_size=2, max_size=30))
def test_kappa_is_cohens(pairs):
    one, other = zip(*pairs, strict=True)
    if len({*one, *other}) == 1:
        assert human_verdicts.kappa(one, other) is None
    else:
        assert human_verdicts.kappa(one, other) == pytest.approx(cohen_kappa_score(one, other))


def test_a_prompt_of_messages_is_read_as_a_talk():
    prompt = json.dumps([{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi\nthere"}])
    assert human_review.readable_prompt(prompt) == "system: Be kind.\n\nuser: Hi\nthere"
    assert human_review.readable_prompt("Where is it?") == "Where is it?"
    assert human_review.readable_prompt("3") == "3"


LABELS = pd.DataFrame(
    {
        "id": [f"r{number}" for number in range(60)],
        "prompt": "a text",
        "ours": ["bills", "parcels", "repairs"] * 20,
        "theirs": ["bills", "bills", "repairs"] * 20,  # wrong in each third row
        "confidence": [0.9, 0.6, 0.95] * 20,
        "is_new": [True] + [False] * 59,
    }
)


def test_labels_that_agree_are_on_the_sheet_too_and_fewer_of_them():
    sheet, key = human_review.draw_sheet(LABELS, "c/2", "c/1", 30, 17)
    assert len(sheet) == 30 and set(key.chances) == set(sheet["id"]) and key.alike == 0
    differing = set(LABELS.loc[LABELS["ours"] != LABELS["theirs"], "id"])
    assert set(key.agreed) == set(sheet["id"]) - differing and 0 < len(key.agreed) < 15
    page = human_review.as_page(sheet, key)
    assert "Which label is right?" in page and 'data-key="2"> both are' in page
    again, same_key = human_review.draw_sheet(LABELS, "c/2", "c/1", 30, 17)
    assert again.equals(sheet) and same_key == key


def test_verdicts_on_labels_give_a_sign_test_and_the_accuracy_on_all_rows(tmp_path):
    sheet, key = human_review.draw_sheet(LABELS, "c/2", "c/1", 45, 17)
    human_review.write_key(key, tmp_path)
    assert human_review.read_key(key.sheet, tmp_path) == key
    path = filled(tmp_path / "ada.csv", sheet, key, lambda row, ours: ours)  # our label is right throughout
    verdicts = human_verdicts.read_verdicts([path], key)
    result = human_verdicts.score(verdicts, key, 0.95)
    assert result.wins == len(sheet) - len(key.agreed) and result.losses == 0 and result.ties == len(key.agreed)
    assert result.verdict == "better"
    first, second = result.accuracy["c/2"], result.accuracy["c/1"]
    assert first.value == 1 and second.value == pytest.approx(2 / 3, abs=0.12)
    assert second.low < 2 / 3 < second.high and second.n == 45
    assert "accuracy of c/1 on all rows 0." in str(result)


@pytest.mark.parametrize("word", ["tie", "="])
def test_a_tie_says_nothing_of_labels_and_is_refused(tmp_path, word):
    sheet, key = human_review.draw_sheet(LABELS, "c/2", "c/1", 10, 17)
    path = filled(tmp_path / "ada.csv", sheet, key, lambda row, ours: word)
    with pytest.raises(Refused, match="Write A, B, both or neither"):
        human_verdicts.read_verdicts([path], key)


def test_both_and_neither_count_for_the_accuracy_and_as_ties(tmp_path):
    sheet, key = human_review.draw_sheet(LABELS, "c/2", "c/1", 60, 17)
    path = filled(tmp_path / "ada.csv", sheet, key, lambda row, ours: "both" if row in key.agreed else "Neither")
    result = human_verdicts.score(human_verdicts.read_verdicts([path], key), key, 0.95)
    assert (result.wins, result.losses, result.ties, result.verdict) == (0, 0, 60, "undecided")
    assert [accuracy.value for accuracy in result.accuracy.values()] == pytest.approx([2 / 3, 2 / 3])
