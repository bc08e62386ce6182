"""What a record keeps of the gate's decision."""

import numpy as np
import pandas as pd

from retune.promotion.gate_record import as_schema_1, with_source
from tests.support.gate import answers


def test_each_row_gets_its_own_source_from_the_test_side():
    rows = pd.DataFrame({"id": ["b", "a", "more"], "source": ["shop", "desk", "x"]})
    assert with_source(pd.DataFrame({"id": ["a", "b", "c"]}), rows)["source"].tolist() == ["desk", "shop", ""]


def test_records_of_schema_1_are_decided_by_the_rule_of_their_time():
    """Three rows that agree were enough then."""
    old = {"metric": "macro_f1", "margin_over_base": 0.01, "margin_over_champion": 0.0, "confidence": 0.95}
    old |= {"bootstrap": 200, "seed": 17}
    gate = as_schema_1(answers(np.zeros(3, bool)), answers(np.ones(3, bool)), old)
    assert gate["decision"] == "champion"
    assert gate["rivals"][1]["reason"] == (
        "macro_f1 beats the champion: gain +1.0000 [+1.0000, +1.0000] on 3 rows; above the margin of 0 in 100.0% of "
        "resamples, 95% asked"
    )
    assert as_schema_1(answers(np.ones(3, bool)), None, old)["decision"] == "held"
