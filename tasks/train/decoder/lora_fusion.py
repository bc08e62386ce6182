"""LoRA's layers, made quick: siblings that read one input are one matrix, each layer one operation.

PEFT's own forward makes four tensors of the size of the output and reads the input twice; on a GPU that is a fifth of
the time of a step. The modules and their names stay PEFT's, so what is saved is its format.
"""

from collections.abc import Callable
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import nn

from retune.errors import Refused
from tasks.train.decoder.lora_kernel import frozen_in_8_bits, lora_linear

SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))  # layers that read the same input
SINCE = (8, 9)  # the compute capability from which on a GPU multiplies 8-bit floats: Ada and Hopper


def fuse(network: nn.Module, eight_bits: bool = False) -> int:
    """Give every plain LoRA layer of a PEFT model the one operation; returns how many.

    A layer with dropout, a variant (DoRA), a bias or a quantised base keeps PEFT's forward. Its base's weights are
    gone where they are kept in 8 bits: such a network can no more be merged, but its adapter can be saved.
    """
    done = 0
    for module in list(network.modules()):
        plain = {name: child for name, child in module.named_children() if type(child) is Linear and _is_plain(child)}
        groups = [[plain.pop(name) for name in names] for names in SIBLINGS if all(name in plain for name in names)]
        for members in groups + [[child] for child in plain.values()]:
            _join(members, eight_bits)
            done += len(members)
    return done


def check_eight_bits(device: torch.device, weights: torch.dtype) -> None:
    """Raises Refused where the frozen base cannot be multiplied in 8 bits."""
    have = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
    if have and have >= SINCE and weights == torch.bfloat16:
        return
    what = "the processor" if not have else f"a GPU of compute capability {have[0]}.{have[1]}, weights in {weights}"
    raise Refused(
        f"train.lora.base_precision is fp8, and this is {what}: it takes bf16 weights on an NVIDIA GPU of compute "
        f"capability {SINCE[0]}.{SINCE[1]} or more (Ada, Hopper); write train.lora.base_precision: bf16"
    )


def _is_plain(module: Any) -> bool:
    if len(module.active_adapters) != 1 or module.lora_variant or module.disable_adapters or module.fan_in_fan_out:
        return False
    name = module.active_adapters[0]
    return (
        type(module.base_layer) is nn.Linear
        and module.base_layer.bias is None
        and isinstance(module.lora_dropout[name], nn.Identity)
        and module.lora_B[name].bias is None
    )


@torch.no_grad()
def _join(members: list[Any], eight_bits: bool) -> None:
    """One matrix for all members, of which their own weights become views. The first computes for them all."""
    whole = torch.cat([member.base_layer.weight for member in members])
    sizes = [member.base_layer.out_features for member in members]
    for place, (member, part) in enumerate(zip(members, torch.split(whole, sizes), strict=True)):
        member.base_layer.weight.data = part
        member.__class__ = Fused  # the class and not the object, so that one compilation serves every layer
        member.place = place
        object.__setattr__(member, "first", members[0])  # past nn.Module, which would list it as a part of this one
    first = members[0]
    object.__setattr__(first, "members", members)
    first.ahead, first.sizes = [], sizes
    first.scale = float(first.scaling[first.active_adapters[0]])
    frozen = frozen_in_8_bits(whole) if eight_bits else [whole]
    first.parts = len(frozen)
    for number, part in enumerate(frozen):
        first.register_buffer(f"frozen_{number}", part, persistent=False)
    first.computes_in = whole.dtype
    if eight_bits:
        whole.untyped_storage().resize_(0)


class Fused(Linear):  # type: ignore[misc, unused-ignore]
    """A LoRA layer of one adapter that is neither merged nor switched off."""

    def forward(self, x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        if self.disable_adapters or self.merged_adapters:
            raise ValueError("a fused LoRA layer is never without its adapter: load the model anew for that")
        if self.place:
            output: torch.Tensor = self.first.ahead.pop(0)
            return output
        name = self.active_adapters[0]
        down = torch.cat([member.lora_A[name].weight for member in self.members])
        block_diag: Callable[..., torch.Tensor] = torch.block_diag
        up = block_diag(*[member.lora_B[name].weight for member in self.members])
        kind, frozen = self.computes_in, [getattr(self, f"frozen_{number}") for number in range(self.parts)]
        out, _low = lora_linear(x.reshape(-1, x.shape[-1]).to(kind), frozen, down.to(kind), up.to(kind), self.scale)
        first, *others = torch.split(out.view(*x.shape[:-1], -1), self.sizes, -1)
        self.ahead.clear()  # a layer that is computed again may have been left halfway
        self.ahead.extend(others)
        return first
