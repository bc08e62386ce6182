"""Each decision record has a number, a status and a date, and stands in the index."""

import importlib.util
import re
from datetime import date
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SPEC = importlib.util.spec_from_file_location("decision_index", ROOT / "docs/decision_index.py")
decision_index = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(decision_index)
PAGES = sorted(path for path in (ROOT / "docs/decisions").glob("*.md") if path.name != "index.md")


def test_numbers_are_those_of_the_file_names_and_follow_each_other():
    decisions = decision_index.decisions()
    assert len(decisions) == len(PAGES) > 0
    assert [page.number for page in decisions] == [f"{number:04}" for number in range(1, len(PAGES) + 1)]
    assert [page.file for page in decisions if not page.file.startswith(f"{page.number}-")] == []


@pytest.mark.parametrize("page", PAGES, ids=[path.stem for path in PAGES])
def test_a_decision_has_status_date_and_its_three_parts(page):
    decision = decision_index.decision(page)
    assert date.fromisoformat(decision.date)
    successor = re.fullmatch(r"superseded by \[(\d{4})\]\((\1-[\w-]+\.md)\)", decision.status)
    assert decision.status == "accepted" or (successor and (page.parent / successor[2]).is_file())
    text = page.read_text("utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
    assert text.count("\n") <= 150


@pytest.mark.parametrize("index", decision_index.INDEXES)
def test_the_index_is_written_from_the_decisions(index):
    text = decision_index.index(decision_index.decisions(), decision_index.INDEXES[index])
    assert (ROOT / index).read_text("utf-8") == text, "run python docs/decision_index.py"


def test_a_page_without_the_head_of_a_decision_is_named(tmp_path):
    (page := tmp_path / "0001-no-head.md").write_text("# A title\n")
    with pytest.raises(SystemExit, match=r"0001-no-head\.md: its head is not that of a decision"):
        decision_index.decision(page)
