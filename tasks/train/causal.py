"""One optimisation step of a decoder over packed batches: what every generative method shares."""

from collections.abc import Iterable

import torch
from torch import nn

from tasks.train.loss import supervised_loss
from tasks.train.packing import Pack


def compile_layers(network: nn.Module) -> None:
    """Compile each decoder layer by itself: one compilation serves all of them, in seconds and not minutes."""
    for layer in decoder(network).layers:  # type: ignore[union-attr]
        layer.compile(fullgraph=True)


def decoder(network: nn.Module) -> nn.Module:
    """The network below the head, adapters and all."""
    whole = network.get_base_model() if hasattr(network, "get_base_model") else network
    return getattr(whole, whole.base_model_prefix)  # type: ignore[no-any-return]


def head(network: nn.Module) -> torch.Tensor:
    return network.get_output_embeddings().weight  # type: ignore[no-any-return, operator]


def gradients(network: nn.Module, packs: Iterable[Pack], whole: float) -> torch.Tensor:
    """Add up the gradients of the mean loss over the `whole` supervised tokens of `packs`; returns that loss."""
    total = torch.zeros((), device=head(network).device)
    for pack in packs:
        hidden = decoder(network)(
            input_ids=pack.ids,
            position_ids=pack.positions,
            cu_seq_lens_q=pack.cuts,
            max_length_q=pack.longest,
            use_cache=False,
        ).last_hidden_state
        loss = supervised_loss(hidden[0], head(network), pack.where, pack.targets, whole)
        loss.backward()
        total += loss.detach()
    return total
