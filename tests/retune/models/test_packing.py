import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.models.chat_template import TokenizedExample
from retune.models.packing import FILLER, MAX_OPEN, pack, pack_first_fit, shape, supervised

CPU = torch.device("cpu")
LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=200)


@settings(deadline=None, max_examples=100)
@given(LENGTHS, st.randoms(use_true_random=False))
def test_every_row_is_in_exactly_one_batch_and_no_batch_is_over_its_budget(lengths, draw):
    order = list(range(len(lengths)))
    draw.shuffle(order)
    batches = pack_first_fit(lengths, 60, order)
    assert sorted(row for batch in batches for row in batch) == sorted(order)
    assert all(0 < sum(lengths[row] for row in batch) <= 60 for batch in batches)


def test_hardly_a_token_of_a_batch_is_wasted():
    lengths = [1 + (number * 37) % 90 for number in range(2000)]
    batches = pack_first_fit(lengths, 1000, range(2000))
    assert sum(lengths) / (1000 * (len(batches) - MAX_OPEN)) > 0.99


def test_a_row_that_no_batch_holds_is_named():
    with pytest.raises(ValueError, match="row 1 has 9 tokens, a batch holds 8"):
        pack_first_fit([3, 9], 8, [0, 1])


@settings(deadline=None, max_examples=100)
@given(LENGTHS)
def test_all_batches_of_a_run_have_one_shape(lengths):
    batches = pack_first_fit(lengths, 60, range(len(lengths)))
    form = shape(lengths, batches, 60)
    for batch in batches:
        packed = pack([TokenizedExample([7] * lengths[row], 0) for row in batch], CPU, form)
        assert packed.input_ids.shape == packed.position_ids.shape == (1, 60)
        assert packed.cu_seqlens.shape == (form.rows + 1,)
        assert packed.cu_seqlens.diff().max() <= packed.max_seqlen == form.max_seqlen
        assert packed.cu_seqlens.diff().min() >= 0
        assert (packed.cu_seqlens[0], packed.cu_seqlens[-1]) == (0, 60)


def test_each_row_starts_at_position_0_and_its_completion_is_what_is_learned():
    rows = [TokenizedExample([5, 6, 7, 8], 2), TokenizedExample([9, 10], 1), TokenizedExample([11, 12, 13], 0)]
    batch = pack(rows, CPU)
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9, 10, 11, 12, 13]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 0, 1, 0, 1, 2]]
    assert batch.cu_seqlens.tolist() == [0, 4, 6, 9]
    assert batch.supervised.tolist() == [1, 2, 4, 6, 7]
    assert batch.targets.tolist() == [7, 8, 10, 12, 13]
    assert [supervised(row) for row in rows] == [2, 1, 2]


def test_what_is_left_of_the_budget_is_learned_nothing_from():
    rows = [TokenizedExample([5, 6, 7], 1)]
    batch = pack(rows, CPU, shape([3], [[0]], 8))
    assert batch.input_ids.tolist() == [[5, 6, 7, *[FILLER] * 5]]
    assert batch.cu_seqlens.tolist() == [0, 3, 6, 8]
    assert batch.targets.tolist() == [6, 7]
