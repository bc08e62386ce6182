from pathlib import Path

import pytest

from retune.errors import Broken, Refused, RetuneError, WrongUse, from_line, to_line


class NoRows(Refused):
    """A kind of its own."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [(Refused, Refused), (WrongUse, WrongUse), (Broken, Broken), (RetuneError, Broken), (NoRows, Refused)],
)
def test_an_error_goes_through_a_line_with_its_fields(error, kind):
    line = to_line(error("2 rows\u2028of\n'Zürich'", remedy="mend them", paths=[Path("/a b/report.json")]))
    read = from_line(line)
    assert len(line.splitlines()) == 1 and type(read) is kind
    assert (read.message, read.remedy) == ("2 rows\u2028of\n'Zürich'", "mend them")
    assert read.paths == (Path("/a b/report.json"),)


@pytest.mark.parametrize(
    "line", ["", "refused: no", '{"error": "Refused"', '{"error": "Other", "message": "x"}', '{"error": "Refused"}']
)
def test_any_other_line_is_no_error(line):
    assert from_line(line) is None


def test_the_sentence_has_the_parts_that_the_error_has():
    assert str(Refused("2 rows are empty")) == "2 rows are empty"
    assert str(Refused("2 rows are empty", remedy="drop them")) == "2 rows are empty: drop them"
    both = [Path("/a.json"), Path("/b.html")]
    assert str(Refused("2 rows are empty", paths=both)) == "2 rows are empty; see /a.json and /b.html"
