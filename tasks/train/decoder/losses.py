"""What is learned from: the supervised tokens alone, without ever holding all of their logits.

The head is applied to the places whose next token is supervised, some thousand at a time, so memory does not grow
with the vocabulary, and unsupervised tokens cost nothing.
"""

from typing import Any

import torch

CHUNK = 4096  # tokens whose logits are held at once


def supervised_loss(
    hidden: torch.Tensor, head: torch.Tensor, where: torch.Tensor, targets: torch.Tensor, whole: float
) -> torch.Tensor:
    """The sum of the losses over `whole`, the supervised tokens of the whole step, however it is cut into batches.

    hidden: [tokens, width], after the last norm; head: [vocabulary, width]; where, targets: [supervised].
    """
    return _Loss.apply(*_alike(hidden.index_select(0, where), head), targets, whole)


def log_likelihood(
    hidden: torch.Tensor, head: torch.Tensor, where: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """[supervised]: the log-probability of each supervised token; gradients go through it."""
    return _LogLikelihood.apply(*_alike(hidden.index_select(0, where), head), targets)


def _alike(hidden: torch.Tensor, head: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind):  # which reaches into no operation of one's own
        dtype = torch.get_autocast_dtype(kind)
        return hidden.to(dtype), head.to(dtype)
    return hidden.to(head.dtype), head


class _Loss(torch.autograd.Function):
    """The gradient of a chunk is made where its logits lie: nobody but the mean asks for it, so it is known at once."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, whole: float) -> Any:
        grad = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        grad_head = torch.zeros_like(head, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for begin in range(0, len(targets), CHUNK):
            part, wanted = hidden[begin : begin + CHUNK], targets[begin : begin + CHUNK]
            loss, grad_logits = _both(part @ head.t(), wanted, 1 / whole)
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
    wanted = wide.gather(-1, targets[:, None])
    grad = ((wide - norm).exp() - _hit(logits, targets)) * scale
    return (norm - wanted).sum() * scale, grad.to(logits.dtype)


_compiled = torch.compile(_cross_entropy, dynamic=True)


def _both(logits: torch.Tensor, targets: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    return (_compiled if logits.is_cuda else _cross_entropy)(logits, targets, scale)


class _LogLikelihood(torch.autograd.Function):
    """Each token's gradient is known only when its row's is: the logits are made once more on the way back."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> Any:
        found = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
        norms = torch.empty_like(found)
        for begin in range(0, len(targets), CHUNK):
            logits = (hidden[begin : begin + CHUNK] @ head.t()).float()
            norms[begin : begin + CHUNK] = logits.logsumexp(-1)
            found[begin : begin + CHUNK] = logits.gather(-1, targets[begin : begin + CHUNK, None])[:, 0]
        ctx.save_for_backward(hidden, head, targets, norms)
        return found - norms

    @staticmethod
    def backward(ctx: Any, grad_found: torch.Tensor) -> Any:
        hidden, head, targets, norms = ctx.saved_tensors
        grad = torch.empty_like(hidden)
        grad_head = torch.zeros_like(head, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        for begin in range(0, len(targets), CHUNK):
            own = slice(begin, begin + CHUNK)
            logits = hidden[own] @ head.t()
            missed = _hit(logits, targets[own]) - (logits.float() - norms[own, None]).exp()
            grad_logits = (missed * grad_found[own, None]).to(head.dtype)
            grad[own] = grad_logits @ head
            if grad_head is not None:
                grad_head += grad_logits.t() @ hidden[own]
        return grad, None if grad_head is None else grad_head.to(head.dtype), None


def _hit(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (torch.arange(logits.shape[-1], device=logits.device)[None, :] == targets[:, None]).float()
