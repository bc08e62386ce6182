"""Each decision record has a number, a status and a date, and stands in the index."""

import re
from datetime import date

import pytest

from docs.generate import decisions
from tests.support.environment import ROOT

PAGES = sorted(path for path in (ROOT / "docs/decisions").glob("*.md") if path.name != "index.md")


def test_numbers_are_those_of_the_file_names_and_follow_each_other():
    records = decisions.decisions()
    assert len(records) == len(PAGES) > 0
    assert [page.number for page in records] == [f"{number:04}" for number in range(1, len(PAGES) + 1)]
    assert [page.file for page in records if not page.file.startswith(f"{page.number}-")] == []


@pytest.mark.parametrize("page", PAGES, ids=[path.stem for path in PAGES])
def test_a_decision_has_status_date_and_its_three_parts(page):
    decision = decisions.decision(page)
    assert date.fromisoformat(decision.date)
    successor = re.fullmatch(r"superseded by \[(\d{4})\]\((\1-[\w-]+\.md)\)", decision.status)
    assert decision.status == "accepted" or (successor and (page.parent / successor[2]).is_file())
    text = page.read_text("utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
    assert text.count("\n") <= 150


def test_a_page_without_the_head_of_a_decision_is_named(tmp_path):
    (page := tmp_path / "0001-no-head.md").write_text("# A title\n")
    with pytest.raises(SystemExit, match=r"0001-no-head\.md: its head is not that of a decision"):
        decisions.decision(page)
