"""One optimisation step of a decoder over packed batches, and what may be done to it: layer-wise compile, noise."""

import torch
from torch import nn

from retune.models import decoder
from retune.models.packing import PackedBatch
from tasks.train.decoder.losses import supervised_loss
from tasks.train.distributed import collectives


def compile_layers(network: nn.Module, backend: str = "inductor") -> None:
    """Compile each decoder layer by itself: one compilation serves all of them, in seconds and not minutes."""
    torch.compiler.reset()  # what an earlier round compiled would count against the limit of one function
    for layer in decoder.body(network).layers:
        layer.compile(fullgraph=True, backend=backend)


def compile_forwards(network: nn.Module, backend: str = "inductor") -> None:
    """The same for sharded layers, whose weights are gathered just before: that is not compiled."""
    torch.compiler.reset()
    for layer in decoder.body(network).layers:
        layer.forward = torch.compile(layer.forward, fullgraph=True, backend=backend)


def backward(network: nn.Module, batch: PackedBatch, total: float, noise: float, precision: str) -> torch.Tensor:
    """Add the gradients of a batch's share of the mean loss over `total` supervised tokens; returns that share."""
    share = loss(network, batch, total, noise, precision)
    torch.autograd.backward(share)
    return share.detach()


def loss(network: nn.Module, batch: PackedBatch, total: float, noise: float, precision: str) -> torch.Tensor:
    """The summed cross-entropy of the supervised tokens of a batch over `total`, those of the whole step."""

    def compute() -> torch.Tensor:
        with decoder.autocast(network, precision):
            change = (lambda embedded, rows: noisy(embedded, rows, noise)) if noise else None
            hidden = decoder.hidden_states(network, batch, change)
            return supervised_loss(hidden, decoder.head(network), batch.supervised, batch.targets, total)

    return collectives.with_gathered_root(network, compute)


def noisy(embedded: torch.Tensor, batch: PackedBatch, alpha: float) -> torch.Tensor:
    """NEFTune (Jain et al. 2023, algorithm 1): uniform noise of alpha / sqrt(tokens x width), tokens of each row.

    embedded: [1, tokens, width]
    """
    lengths = batch.cu_seqlens.diff().long()
    tokens = lengths.repeat_interleave(lengths, output_size=embedded.shape[1]).float()
    scale = alpha / (tokens * embedded.shape[-1]).sqrt()
    noise = torch.rand(embedded.shape, device=embedded.device, dtype=torch.float32) * 2 - 1
    return embedded + (noise * scale[None, :, None]).to(embedded.dtype)
