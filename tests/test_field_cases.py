"""bench/field_cases.py: what it makes of the verdicts of cases."""

import json
import subprocess
import sys

import pytest

from tests.support.environment import ROOT

SAYS = {
    "a1-good": 'echo "VERDICT $(basename "$(dirname "$0")"): as a user expects (in $LIMIT s)"',
    "a2-bad": 'echo "VERDICT a2: NOT as a user expects (lost a row)"',
    "b1-silent": "echo no room here; exit 3",
}


@pytest.fixture
def bench(tmp_path):
    for name, script in SAYS.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "case.sh").write_text(script)

    def run(*words):
        command = [sys.executable, str(ROOT / "bench/field_cases.py"), str(tmp_path), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    return run


def test_each_case_comes_with_its_verdict_and_any_that_is_not_as_expected_fails(bench, tmp_path):
    ended = bench("--limit", "7", "--json", str(tmp_path / "results.json"))
    assert ended.returncode == 1
    assert "[2/3] a2-bad" in ended.stdout and "1 of 3 as a user expects" in ended.stdout
    results = json.loads((tmp_path / "results.json").read_text())
    assert [(each["case"], each["as_expected"], each["why"]) for each in results] == [
        ("a1-good", True, "in 7 s"),
        ("a2-bad", False, "lost a row"),
        ("b1-silent", False, "no verdict, exit 3; it said last: no room here"),
    ]


def test_cases_are_named_by_their_beginnings(bench):
    ended = bench("a1")
    assert (ended.returncode, "1 of 1 as a user expects" in ended.stdout) == (0, True)
    assert "has no case c9; it has a1-good, a2-bad, b1-silent" in bench("a1", "c9").stderr
