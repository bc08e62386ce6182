"""How many general examples, and which."""

import pandas as pd
import pytest

from retune.data.replay_sampling import in_draw_order, required_count


@pytest.mark.parametrize(
    ("rows", "share", "many"), [(90, 0.1, 10), (100, 0.0, 0), (100, 0.5, 100), (0, 0.5, 0), (7, 0.3, 3)]
)
def test_the_share_is_that_of_all(rows, share, many):
    assert required_count(rows, share) == many


def test_the_draw_hangs_on_seed_and_id_alone():
    examples = pd.DataFrame({"id": [f"file:{number}" for number in range(50)]})
    order = list(in_draw_order(examples, 3)["id"])
    assert order != list(examples["id"]) and sorted(order) == sorted(examples["id"])
    assert list(in_draw_order(examples.iloc[::-1], 3)["id"]) == order
    assert list(in_draw_order(examples, 4)["id"]) != order
    fewer = examples[examples.index != 20]
    assert list(in_draw_order(fewer, 3)["id"]) == [name for name in order if name != "file:20"], (
        "one more moves no other"
    )
