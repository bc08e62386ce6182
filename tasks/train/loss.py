"""Cross-entropy of the supervised tokens alone, without ever holding all of their logits.

The head is applied to the places whose next token is supervised, some thousand at a time; the gradient of a chunk is
made where its logits lie. So memory does not grow with the vocabulary, and unsupervised tokens cost nothing.
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
    return _Loss.apply(hidden.index_select(0, where), head, targets, whole)  # type: ignore[no-any-return]


class _Loss(torch.autograd.Function):
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
    hit = torch.arange(logits.shape[-1], device=logits.device)[None, :] == targets[:, None]
    grad = ((wide - norm).exp() - hit.float()) * scale
    return (norm - wanted).sum() * scale, grad.to(logits.dtype)


_compiled = torch.compile(_cross_entropy, dynamic=True)


def _both(logits: torch.Tensor, targets: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    return (_compiled if logits.is_cuda else _cross_entropy)(logits, targets, scale)
