"""Charts of scores."""

import pytest

from retune.documents import score_charts


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ([0.93, 0.89], (0, 1)),
        ([0.053, 0.13], (0, 0.2)),
        ([0.5], (0, 0.5)),
        ([-0.03, 0.02], (-0.05, 0.02)),
        ([-3.0], (-5, 1)),
        ([0.0], (0, 1)),
        ([], (0, 1)),
        ([float("nan"), float("inf"), 3], (0, 5)),
    ],
)
def test_an_axis_goes_from_zero_to_a_round_number(values, ends):
    assert score_charts.axis(values) == pytest.approx(ends)


def test_a_bar_stays_within_its_axis_whatever_its_numbers(lineage_facts):
    lineage_facts.record["scores"]["candidate"]["odd"] = {
        "value": float("inf"),
        "low": float("nan"),
        "high": -1.0,
        "n": 0,
    }
    (chart,) = [chart for chart in score_charts.charts(lineage_facts.record["scores"]) if chart.name == "odd"]
    for bar in chart.bars:
        assert all(0 <= place <= 100 for place in (bar.at, bar.left, bar.right, bar.zero))
