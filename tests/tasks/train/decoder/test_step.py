import pytest
import torch

from retune.models.chat_template import TokenizedExample
from retune.models.packing import pack, shape
from tasks.train.decoder.step import noisy

CPU = torch.device("cpu")


def test_noise_reaches_as_far_as_the_length_of_its_own_row_says():
    lengths = [400, 25]
    rows = [TokenizedExample([5] * length, 1) for length in lengths]
    torch.manual_seed(0)
    added = noisy(torch.zeros(1, 425, 64), pack(rows, CPU), 5.0)[0]
    for part, length in zip(added.split(lengths), lengths, strict=True):
        reach = 5.0 / (length * 64) ** 0.5
        assert part.abs().max() <= reach
        assert part.abs().max() > 0.99 * reach
        assert part.mean().abs() < 0.05 * reach
        assert part.std().item() == pytest.approx(reach / 3**0.5, rel=0.03)  # of a uniform draw


def test_noise_is_the_seeds():
    batch = pack([TokenizedExample([5] * 9, 1)], CPU, shape([9], [[0]], 16))
    noises = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        noises.append(noisy(torch.ones(1, 16, 4), batch, 5.0))
    assert torch.equal(noises[0], noises[1])
    assert not torch.equal(noises[0], noises[2])
