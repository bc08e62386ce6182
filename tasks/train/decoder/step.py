"""One optimisation step of a decoder over packed batches, and what may be done to it: layer-wise compile, noise."""

import torch
from torch import nn

from retune.models import decoder
from retune.models.packing import PackedBatch
from tasks.train.decoder.losses import supervised_loss
from tasks.train.distributed import collectives


def compile_layers(network: nn.Module, backend: str = "inductor") -> None:
    """Compile each decoder layer by itself: one compilation serves all of them, in seconds and not minutes."""
    torch.compiler.reset()  # what an earlier round left would count against the limit of one function
    for layer in decoder.body(network).layers:
        layer.compile(fullgraph=True, backend=backend)


def compile_forwards(network: nn.Module, backend: str = "inductor") -> None:
    """The same where a layer's weights come together just before: that is no part of what is compiled."""
    torch.compiler.reset()
    for layer in decoder.body(network).layers:
        layer.forward = torch.compile(layer.forward, fullgraph=True, backend=backend)


def learn(network: nn.Module, rows: PackedBatch, whole: float, noise: float, precision: str) -> torch.Tensor:
    """Add the gradients of a pack's share of the mean loss over `whole` supervised tokens; returns that share."""
    share = loss(network, rows, whole, noise, precision)
    share.backward()
    return share.detach()


def loss(network: nn.Module, rows: PackedBatch, whole: float, noise: float, precision: str) -> torch.Tensor:
    def compute() -> torch.Tensor:
        with decoder.autocast(network, precision):
            change = (lambda embedded, own: noisy(embedded, own, noise)) if noise else None
            hidden = decoder.hidden_states(network, rows, change)
            return supervised_loss(hidden, decoder.head(network), rows.supervised, rows.targets, whole)

    return collectives.with_gathered_root(network, compute)


def noisy(embedded: torch.Tensor, rows: PackedBatch, alpha: float) -> torch.Tensor:
    """NEFTune (Jain et al. 2023, algorithm 1): uniform noise of alpha / sqrt(tokens x width), the tokens a row's own.

    embedded: [1, tokens, width]
    """
    lengths = rows.cu_seqlens.diff().long()
    tokens = lengths.repeat_interleave(lengths, output_size=embedded.shape[1]).float()
    reach = alpha / (tokens * embedded.shape[-1]).sqrt()
    noise = torch.rand(embedded.shape, device=embedded.device, dtype=torch.float32) * 2 - 1
    return embedded + (noise * reach[None, :, None]).to(embedded.dtype)
