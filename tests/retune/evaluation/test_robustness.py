import numpy as np
import pandas as pd
import pytest

from retune.evaluation import robustness

NAN = np.nan


def test_the_cost_is_that_of_the_changed_rows_alone():
    before, after = np.array([1.0, 1.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0, NAN])
    cost = robustness.cost("typos", before, after, 200, 0.95, seed=1)
    assert (cost.rows, cost.before, cost.after) == (3, pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert cost.drop.value == pytest.approx(1 / 3) and cost.drop.low <= 1 / 3 <= cost.drop.high
    assert cost == robustness.cost("typos", before, after, 200, 0.95, seed=1)


def test_a_change_that_changes_no_row_costs_nothing_that_could_be_said():
    assert robustness.cost("typos", np.ones(2), np.full(2, NAN), 200, 0.95, seed=1) is None
    assert robustness.cost("typos", np.zeros(0), np.zeros(0), 200, 0.95, seed=1) is None


def test_the_columns_of_a_table_name_the_kinds():
    assert robustness.kinds_of(pd.DataFrame({"id": [], robustness.column("quoted_reply"): []})) == ["quoted_reply"]
