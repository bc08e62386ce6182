import json
from dataclasses import replace

import numpy as np

from tasks.evaluate import slice_search
from tests.tasks.evaluate.test_classification import SECTION


def test_the_section_lists_the_worst_slice_first_with_its_score_interval_and_rows(make_tickets):
    rows = make_tickets(240)
    rows["source"] = ["shop" if n % 4 == 0 else "desk" for n in range(240)]
    wrong = (rows["source"] == "shop") & (np.arange(240) % 8 == 0)
    section = slice_search.section(rows, rows["text"].tolist(), wrong.to_numpy(float), "accuracy", SECTION)
    worst = section.details["slices"][0]
    assert worst["conditions"] == [{"column": "source", "value": "shop"}]
    assert (worst["score"], worst["rest"], worst["rows"]) == (0.5, 1.0, 60)
    assert worst["low"] < 0.5 < worst["high"] and worst["p"] <= 0.05
    assert section.measures["worst_slice"].n == 60 and section.numbers["surely_worse_slices"] >= 1
    json.dumps(section.details, allow_nan=False)


def test_only_the_drawn_rows_are_searched(make_tickets):
    rows = make_tickets(60)
    config = replace(SECTION, slice_search=replace(SECTION.slice_search, rows=40))
    section = slice_search.section(rows, rows["text"].tolist(), np.zeros(60), "accuracy", config)
    assert section.details["rows"] == 40 and section.details["slices"] == [] and not section.measures
