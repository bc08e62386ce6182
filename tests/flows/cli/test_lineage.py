"""How many links a trace prints; `tests/pipeline/lineage/` traces real versions."""

import pytest

from flows.cli.lineage import print_checks
from retune.lineage.check import Check


@pytest.fixture
def printed_lines(capsys):
    """The lines for thirty links, of which those with these numbers fail."""

    def lines(first, *wrong):
        print_checks([Check(f"link {n}", "x", "y" if n in wrong else "x", n not in wrong) for n in range(30)], first)
        return capsys.readouterr().out.splitlines()

    return lines


def test_the_first_links_are_printed_and_the_rest_is_counted(printed_lines):
    *lines, rest, verdict = printed_lines(20)
    assert [line.split()[2] for line in lines] == [str(n) for n in range(20)]
    assert rest == "… and 10 more that hold: --all prints them"
    assert verdict == "all 30 links hold, each recomputed now"


def test_a_link_that_fails_is_printed_wherever_it_stands(printed_lines):
    *lines, rest, verdict = printed_lines(20, 3, 27)
    assert len(lines) == 21 and lines[-1].startswith("✗ link 27") and "and 9 more that hold" in rest
    assert verdict == "2 of 30 links FAIL: link 3, link 27"


def test_all_links_are_printed_to_whoever_asks_for_all(printed_lines):
    assert len(printed_lines(None)) == 31
