"""The champion on the page of a run; `tests/pipeline/lifecycle/` looks at a real page."""

from tasks.register import run_page

NAMES = ("accuracy", "macro_f1", "calibration_error")
SCORES = {
    f"{who}{name}{end}": 0.5 for who in ("", "base_", "probe_") for name in NAMES for end in ("", "_low", "_high")
}


def test_the_champion_that_the_gate_scored_has_a_row_in_the_table_of_a_run(record):
    scores = run_page.with_champion(SCORES, record)
    accuracy = record["scores"]["champion"]["accuracy"]
    assert scores["champion_accuracy"] == accuracy["value"] and scores["champion_accuracy_low"] == accuracy["low"]
    table = run_page.scores_table(scores, "classify").splitlines()
    assert [line.split(" | ")[0] for line in table[2:4]] == ["| this model", "| champion of that time"]
    assert f"{accuracy['value']:.4f} [{accuracy['low']:.3f}, {accuracy['high']:.3f}]" in table[3]


def test_a_run_before_which_there_was_no_champion_has_no_such_row(record):
    record["scores"]["champion"] = None
    scores = run_page.with_champion(SCORES, record)
    assert scores == SCORES and "champion" not in run_page.scores_table(scores, "classify")
