from dataclasses import replace

import pandas as pd
import pytest

from retune.config import params
from retune.data import messages, row_table
from retune.errors import Refused
from retune.preflight import scored_rows
from tests.support.environment import ROOT

PREFER = params.load(ROOT / "retune/config/defaults/prefer.yaml")
NONE = messages.NO_ANSWER


@pytest.fixture
def write_test_rows(tmp_path):
    def write(*answers):
        table = pd.DataFrame(answers, columns=["label", "rejected"]).assign(
            id="1", text="a", group="", source="", given=""
        )
        row_table.write(table, tmp_path / "test.parquet")
        return tmp_path / "test.parquet"

    return write


def test_a_gate_on_preferences_needs_a_test_row_with_two_answers(write_test_rows):
    assert PREFER.promote.metric == "preferred"
    single = write_test_rows(("yes", NONE), (NONE, "no"))
    with pytest.raises(Refused, match=r"none of the 2 rows of the test split has two: set promote\.metric"):
        scored_rows.require(PREFER, single)
    scored_rows.require(replace(PREFER, promote=replace(PREFER.promote, metric="perplexity")), single)
    scored_rows.require(PREFER, write_test_rows(("yes", NONE), ("yes", "no")))


def test_other_tasks_are_not_asked(tmp_path):
    scored_rows.require(params.load(ROOT / "params.yaml"), tmp_path / "no such file")
