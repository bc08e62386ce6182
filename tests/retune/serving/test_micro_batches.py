import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.serving.micro_batches import next_batch


@pytest.mark.parametrize(
    ("lengths", "budget", "batch"),
    [
        ([7], 3, [0]),  # longer than the budget: alone
        ([5, 5, 5, 5], 10, [0, 1]),
        ([9, 3, 10, 2], 20, [0, 2]),
        ([3, 100, 4, 2], 12, [3, 0, 2]),
        ([100, 3, 3, 3], 128, [0]),
    ],
)
def test_a_batch_holds_the_oldest_text_and_those_about_as_long(lengths, budget, batch):
    assert next_batch(lengths, budget) == batch


@given(st.lists(st.integers(1, 128), min_size=1, max_size=60), st.integers(1, 1024))
def test_a_batch_keeps_to_the_budget_and_the_oldest_text_is_in_it(lengths, budget):
    batch = next_batch(lengths, budget)
    assert 0 in batch and len(set(batch)) == len(batch)
    assert [lengths[place] for place in batch] == sorted(lengths[place] for place in batch)
    assert len(batch) == 1 or len(batch) * lengths[batch[-1]] <= budget


@given(st.lists(st.integers(1, 128), min_size=1, max_size=40), st.integers(1, 512))
def test_batch_after_batch_reads_every_text_once(lengths, budget):
    waiting = list(range(len(lengths)))
    for _ in lengths:
        if waiting:
            batch = next_batch([lengths[text] for text in waiting], budget)
            waiting = [text for place, text in enumerate(waiting) if place not in batch]
    assert waiting == []
