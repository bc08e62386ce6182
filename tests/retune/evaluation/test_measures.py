from retune.evaluation import measures
from retune.evaluation.measures import Measure, Section

SECTIONS = [
    Section("robustness", {"rows": 3}, {"robustness_typos": Measure("drop by typos", 0.1, 0.0, 0.2, 3)}),
    Section("slice_search", {"rows": 9}, {}, {"surely_worse_slices": 2}),
]


def test_a_measure_is_three_columns_and_a_number_is_one():
    assert measures.headline(SECTIONS) == {
        "robustness_typos": 0.1,
        "robustness_typos_low": 0.0,
        "robustness_typos_high": 0.2,
        "surely_worse_slices": 2,
    }


def test_details_hold_each_section_and_all_measures_with_their_titles():
    details = measures.details(SECTIONS)
    assert details["robustness"] == {"rows": 3} and details["slice_search"] == {"rows": 9}
    assert measures.of_details(details)["robustness_typos"]["title"] == "drop by typos"


def test_details_of_an_earlier_release_have_no_measures():
    assert measures.of_details({"labels": []}) == {}
