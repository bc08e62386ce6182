from itertools import pairwise

import pytest
import torch
from torch import nn

from retune.models.attention import packed


def drawn(lengths, heads=4, groups=2, width=8):
    torch.manual_seed(1)
    query, key, value = (torch.randn(1, count, sum(lengths), width) for count in (heads, groups, groups))
    cuts = torch.tensor([0, *torch.tensor(lengths).cumsum(0)], dtype=torch.int32)
    return query, key, value, cuts


def by_hand(query, key, value, cuts, scale):
    """The softmax as it is written down, each row by itself."""
    key, value = (one.repeat_interleave(query.shape[1] // one.shape[1], 1) for one in (key, value))
    rows = []
    for begin, end in pairwise(cuts.tolist()):
        queries, keys, values = (one[:, :, begin:end] for one in (query, key, value))
        weights = queries @ keys.transpose(-1, -2) * scale
        later = torch.ones(end - begin, end - begin).triu(1).bool()
        rows.append(weights.masked_fill(later, float("-inf")).softmax(-1) @ values)
    return torch.cat(rows, 2).transpose(1, 2)


@pytest.mark.parametrize("lengths", [(5, 3, 9, 1), (6, 6, 6), (7,)], ids=["unlike", "like", "one"])
def test_a_row_sees_its_own_earlier_tokens_and_no_others(lengths):
    query, key, value, cuts = drawn(lengths)
    out, _ = packed(nn.Identity(), query, key, value, None, 0.3, cu_seq_lens_q=cuts, max_length_q=max(lengths))
    assert torch.allclose(out, by_hand(query, key, value, cuts, 0.3), atol=1e-6)


def test_the_end_may_be_told_more_than_once():
    query, key, value, cuts = drawn((5, 3))
    padded = torch.cat([cuts, cuts[-1:].repeat(3)])
    one, other = (
        packed(nn.Identity(), query, key, value, None, cu_seq_lens_q=each, max_length_q=5)[0] for each in (cuts, padded)
    )
    assert torch.equal(one, other)


@pytest.mark.parametrize(
    "wrong",
    [
        {"attention_mask": torch.ones(1, 1, 8, 8)},
        {"dropout": 0.1},
        {"cu_seq_lens_q": None},
        {"sliding_window": 4},
        {"softcap": 30.0},
        {"s_aux": torch.ones(4)},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_what_it_would_get_wrong_in_silence_is_refused(wrong):
    query, key, value, cuts = drawn((5, 3))
    words = {"attention_mask": None, "cu_seq_lens_q": cuts, "max_length_q": 5} | wrong
    with pytest.raises(ValueError, match="packed attention"):
        packed(nn.Identity(), query, key, value, **words)


def test_a_window_that_no_row_is_longer_than_changes_nothing():
    query, key, value, cuts = drawn((5, 3))
    out, _ = packed(nn.Identity(), query, key, value, None, cu_seq_lens_q=cuts, max_length_q=5, sliding_window=5)
    assert out.shape == (1, 8, 4, 8)
