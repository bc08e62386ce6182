"""What a decoder learns from: the supervised tokens alone, without ever holding all of their logits.

The head is applied to the places whose next token is supervised, some thousand at a time, so memory does not grow
with the vocabulary, and unsupervised tokens cost nothing. The losses of preferences stand on the same log-likelihoods.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

CHUNK = 4096  # tokens whose logits are held at once


def supervised_loss(
    hidden: torch.Tensor, head: torch.Tensor, supervised: torch.Tensor, targets: torch.Tensor, total: float
) -> torch.Tensor:
    """The sum of the losses over `total`, the supervised tokens of the whole step, however it is cut into batches.

    hidden: [tokens, width], after the last norm; head: [vocabulary, width]; supervised, targets: [targets].
    """
    apply: Callable[..., torch.Tensor] = _Loss.apply
    return apply(*_same_dtype(hidden.index_select(0, supervised), head), targets, total)


def log_likelihood(
    hidden: torch.Tensor, head: torch.Tensor, supervised: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """[targets]: the log-probability of each supervised token; gradients go through it."""
    apply: Callable[..., torch.Tensor] = _LogLikelihood.apply
    return apply(*_same_dtype(hidden.index_select(0, supervised), head), targets)


def dpo(gain: torch.Tensor, beta: float) -> torch.Tensor:
    """[pairs], Rafailov et al. 2023, eq. 7. gain: [pairs, 2], log-probability over the reference's."""
    return -nn.functional.logsigmoid(beta * (gain[:, 0] - gain[:, 1]))


def kto(gain: torch.Tensor, liked: torch.Tensor, beta: float, drift: torch.Tensor) -> torch.Tensor:
    """[answers], Ethayarajh et al. 2024, eq. 8, both kinds of answer weighing 1.

    gain: [answers], log-probability over the reference's; liked: [answers] of bool. drift: how far from the reference
    the policy is anyway (their z0), no gradient through it.
    """
    return 1 - (beta * torch.where(liked, gain - drift, drift - gain)).sigmoid()


def _same_dtype(hidden: torch.Tensor, head: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind):  # which reaches into no operation of one's chunk
        dtype = torch.get_autocast_dtype(kind)
        return hidden.to(dtype), head.to(dtype)
    return hidden.to(head.dtype), head


class _Loss(torch.autograd.Function):
    """The gradient of a chunk is computed beside its logits: only the mean follows, so it is known at once."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, total_tokens: float) -> Any:
        grad = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        grad_head = torch.zeros_like(head, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for begin in range(0, len(targets), CHUNK):
            part, target = hidden[begin : begin + CHUNK], targets[begin : begin + CHUNK]
            loss, grad_logits = _loss_and_gradient(part @ head.t(), target, 1 / total_tokens)
            total += loss
            if grad is not None:
                torch.mm(grad_logits, head, out=grad[begin : begin + CHUNK])
            if grad_head is not None:
                grad_head += grad_logits.t() @ part
        ctx.save_for_backward(grad, None if grad_head is None else grad_head.to(head.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, grad_total: torch.Tensor) -> Any:
        grad, grad_head = ctx.saved_tensors
        return (
            None if grad is None else grad * grad_total,
            None if grad_head is None else grad_head * grad_total,
            None,
            None,
        )


def _cross_entropy(logits: torch.Tensor, targets: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """logits: [tokens, vocabulary]. The loss, summed, and the gradient of the logits, both times `scale`."""
    wide = logits.float()
    norm = wide.logsumexp(-1, keepdim=True)
    target = wide.gather(-1, targets[:, None])
    grad = ((wide - norm).exp() - _one_hot(logits, targets)) * scale
    return (norm - target).sum() * scale, grad.to(logits.dtype)


_compiled = torch.compile(_cross_entropy, dynamic=True)


def _loss_and_gradient(logits: torch.Tensor, targets: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    return (_compiled if logits.is_cuda else _cross_entropy)(logits, targets, scale)


class _LogLikelihood(torch.autograd.Function):
    """Each token's gradient is known only when its row's is: the logits are computed again on the way back."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> Any:
        scores = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
        norms = torch.empty_like(scores)
        for begin in range(0, len(targets), CHUNK):
            logits = (hidden[begin : begin + CHUNK] @ head.t()).float()
            norms[begin : begin + CHUNK] = logits.logsumexp(-1)
            scores[begin : begin + CHUNK] = logits.gather(-1, targets[begin : begin + CHUNK, None])[:, 0]
        ctx.save_for_backward(hidden, head, targets, norms)
        return scores - norms

    @staticmethod
    def backward(ctx: Any, grad_scores: torch.Tensor) -> Any:
        hidden, head, targets, norms = ctx.saved_tensors
        grad = torch.empty_like(hidden)
        grad_head = torch.zeros_like(head, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        for begin in range(0, len(targets), CHUNK):
            chunk = slice(begin, begin + CHUNK)
            logits = hidden[chunk] @ head.t()
            residual = _one_hot(logits, targets[chunk]) - (logits.float() - norms[chunk, None]).exp()
            grad_logits = (residual * grad_scores[chunk, None]).to(head.dtype)
            grad[chunk] = grad_logits @ head
            if grad_head is not None:
                grad_head += grad_logits.t() @ hidden[chunk]
        return grad, None if grad_head is None else grad_head.to(head.dtype), None


def _one_hot(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (torch.arange(logits.shape[-1], device=logits.device)[None, :] == targets[:, None]).float()
