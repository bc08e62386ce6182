import pytest
import torch
from torch import nn

from tasks.train.decoder import losses
from tasks.train.decoder.losses import log_likelihood, supervised_loss


@pytest.fixture(params=[4096, 3], ids=["one chunk", "many"])
def _chunks(request, monkeypatch):
    monkeypatch.setattr(losses, "CHUNK", request.param)


def drawn():
    torch.manual_seed(2)
    hidden = torch.randn(12, 8, requires_grad=True)
    head = torch.randn(20, 8, requires_grad=True)
    where = torch.tensor([0, 2, 3, 4, 7, 8, 10])
    return hidden, head, where, torch.randint(20, (7,))


def gradients(value, *of):
    return torch.autograd.grad(value, of)


@pytest.mark.usefixtures("_chunks")
def test_the_loss_and_its_gradients_are_those_of_the_plain_cross_entropy():
    hidden, head, where, targets = drawn()
    ours = supervised_loss(hidden, head, where, targets, 7.0)
    plain = nn.functional.cross_entropy((hidden @ head.t())[where], targets)
    assert torch.allclose(ours, plain, atol=1e-6)
    for one, other in zip(gradients(3 * ours, hidden, head), gradients(3 * plain, hidden, head), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.usefixtures("_chunks")
def test_log_likelihoods_and_their_gradients_are_the_plain_ones():
    hidden, head, where, targets = drawn()
    weights = torch.linspace(-1, 2, 7)
    ours = log_likelihood(hidden, head, where, targets)
    plain = (hidden @ head.t())[where].log_softmax(-1).gather(1, targets[:, None])[:, 0]
    assert torch.allclose(ours, plain, atol=1e-6)
    pairs = zip(gradients(ours @ weights, hidden, head), gradients(plain @ weights, hidden, head), strict=True)
    for one, other in pairs:
        assert torch.allclose(one, other, atol=1e-5)


def test_a_frozen_head_gets_no_gradient():
    hidden, head, where, targets = drawn()
    frozen = head.detach()
    supervised_loss(hidden, frozen, where, targets, 7.0).backward()
    log_likelihood(hidden, frozen, where, targets).sum().backward()
    assert hidden.grad is not None
    assert frozen.grad is None


def test_a_batch_that_supervises_nothing_adds_nothing():
    hidden, head, _, _ = drawn()
    none = torch.zeros(0, dtype=torch.long)
    value = supervised_loss(hidden, head, none, none, 7.0)
    assert value == 0
    assert gradients(value, hidden)[0].abs().max() == 0
