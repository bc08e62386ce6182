"""`retune forget --check`, as people call it."""

import json

import pytest

from retune.evaluation.statistics import Interval
from tasks.forget import check
from tasks.forget.check import ForgetCheck


@pytest.fixture
def answer(clone, monkeypatch):
    def ask(result, *words):
        monkeypatch.setattr(check, "check", lambda reference: result)
        return clone.call("forget", "--check", "classifier/2", *words)

    return ask


def test_a_version_that_treats_forgotten_rows_like_others_passes(answer):
    done = answer(ForgetCheck("classifier/2", check.LIKE_UNSEEN, 40, 120, (), Interval(0.51, 0.4, 0.6)))
    assert done.returncode == 0
    assert done.stdout == (
        "classifier/2: forgotten rows are like unseen ones: AUC 0.510 [0.400, 0.600], 0.5 is no difference, "
        "40 forgotten rows beside 120 test rows\n"
    )
    assert "too few rows to say" in answer(ForgetCheck("classifier/2", check.TOO_FEW, 3, 120, (), None)).stdout


def test_one_that_still_knows_them_ends_with_code_1_and_json_says_why(answer):
    done = answer(ForgetCheck("classifier/2", check.LEARNED_FROM, 1, 0, ("T-4",), None), "--json")
    assert done.returncode == 1 and json.loads(done.stdout)["learned"] == ["T-4"]
    assert (
        "learned from 1 rows on the list: T-4"
        in answer(ForgetCheck("classifier/2", check.LEARNED_FROM, 1, 0, ("T-4",), None)).stdout
    )


@pytest.mark.parametrize("words", [("T-4", "--check", "classifier/2"), ("T-4",), ("--reason", "asked"), ()])
def test_ids_and_a_reason_or_a_check_are_asked_for(clone, words):
    assert clone.call("forget", *words).returncode == 2
