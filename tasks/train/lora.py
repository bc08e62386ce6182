"""LoRA as one operation: y = x W' + s (x A') B', in the fewest passes over memory.

PEFT's own forward makes four tensors of the size of the output and reads the input twice; on a GPU that is a fifth of
the time of a step. Here the low-rank part is added into the output where it lies, forwards and backwards. The sums are
PEFT's (LoRA: Hu et al. 2021, arXiv:2106.09685); the modules and their names stay PEFT's, so what is saved is its format.
"""

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import nn


SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))  # layers that read the same input


def fuse(network: nn.Module, fp8: bool = False, group: bool = True) -> int:
    """Give every plain LoRA layer of a PEFT model the one operation; returns how many.

    A layer with dropout, a variant (DoRA), a bias in the adapter or a quantised base keeps PEFT's forward.
    """
    done = 0
    for module in list(network.modules()):
        children = {
            name: child for name, child in module.named_children() if type(child) is Linear and _is_plain(child)
        }
        for names in SIBLINGS:
            if group and all(name in children for name in names):
                done += len(names)
                _join([children.pop(name) for name in names], fp8)
        for child in children.values():
            done += 1
            _join([child], fp8)
    return done


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
def _join(members: list[Any], fp8: bool) -> None:
    """One matrix for all members, of which their own weights become views."""
    whole = torch.cat([member.base_layer.weight for member in members])
    sizes = [member.base_layer.out_features for member in members]
    for member, part in zip(members, whole.split(sizes), strict=True):
        member.base_layer.weight.data = part
        member.__class__ = Fused  # the class and not the object, so that one compilation serves every layer
    first = members[0]
    first.register_buffer("whole", whole, persistent=False)
    first.sizes, first.scale = sizes, float(first.scaling[first.active_adapters[0]])
    object.__setattr__(first, "ahead", [])
    object.__setattr__(first, "members", members)
    for number, member in enumerate(members):
        member.place = number
        object.__setattr__(member, "first", first)
    if fp8:
        for name, values in (("rows8", whole), ("columns8", whole.t().contiguous())):
            eight, scale = _by_rows(values)
            first.register_buffer(name, eight, persistent=False)
            first.register_buffer(f"{name}_scale", scale.t().contiguous(), persistent=False)
        whole.untyped_storage().resize_(0)


class Fused(Linear):
    """A LoRA layer of one adapter that is neither merged nor switched off. The first sibling computes for them all."""

    def forward(self, x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        if self.place:
            return self.first.ahead.pop(0)
        name = self.active_adapters[0]
        downs = [member.lora_A[name].weight for member in self.members]
        ups = [member.lora_B[name].weight for member in self.members]
        kind = self.whole.dtype
        down, up = torch.cat(downs).to(kind), torch.block_diag(*ups).to(kind)
        flat = x.reshape(-1, x.shape[-1]).to(kind)
        if hasattr(self, "rows8"):
            out, _low = lora_linear8(
                flat, self.rows8, self.rows8_scale, self.columns8, self.columns8_scale, down, up, self.scale
            )
        else:
            out, _low = lora_linear(flat, self.whole, down, up, self.scale)
        mine, *others = out.view(*x.shape[:-1], -1).split(self.sizes, -1)
        self.ahead.extend(others)
        return mine


@torch.library.custom_op("retune::lora_linear", mutates_args=())
def lora_linear(
    x: torch.Tensor, weight: torch.Tensor, down: torch.Tensor, up: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """x: [rows, in]; weight: [out, in], frozen; down: [rank, in]; up: [out, rank].

    Returns y: [rows, out], and x down': [rows, rank], which the gradients need again.
    """
    low = x @ down.t()
    y = x @ weight.t()
    y.addmm_(low, up.t(), alpha=scale)
    return y, low


@lora_linear.register_fake
def _(x: torch.Tensor, weight: torch.Tensor, down: torch.Tensor, up: torch.Tensor, scale: float) -> Any:
    return x.new_empty(x.shape[0], weight.shape[0]), x.new_empty(x.shape[0], down.shape[0])


@torch.library.custom_op("retune::lora_linear_backward", mutates_args=())
def lora_linear_backward(
    grad: torch.Tensor,
    x: torch.Tensor,
    low: torch.Tensor,
    weight: torch.Tensor,
    down: torch.Tensor,
    up: torch.Tensor,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The gradients of x, down and up from that of y."""
    grad_low = (grad @ up) * scale
    grad_x = grad @ weight
    grad_x.addmm_(grad_low, down)
    return grad_x, grad_low.t() @ x, (grad.t() @ low) * scale


@lora_linear_backward.register_fake
def _(
    grad: torch.Tensor,
    x: torch.Tensor,
    low: torch.Tensor,
    weight: torch.Tensor,
    down: torch.Tensor,
    up: torch.Tensor,
    scale: float,
) -> Any:
    return torch.empty_like(x), torch.empty_like(down), torch.empty_like(up)


def _keep(ctx: Any, inputs: Any, output: Any) -> None:
    x, weight, down, up, scale = inputs
    ctx.save_for_backward(x, output[1], weight, down, up)
    ctx.scale = scale


def _backward(ctx: Any, grad: torch.Tensor, _: torch.Tensor) -> Any:
    x, low, weight, down, up = ctx.saved_tensors
    grads = lora_linear_backward(grad.contiguous(), x, low, weight, down, up, ctx.scale)
    return grads[0], None, grads[1], grads[2], None


lora_linear.register_autograd(_backward, setup_context=_keep)


# ---------------------------------------------------------------- the frozen weights in 8 bits

HIGHEST = 448.0  # of float8_e4m3fn


def _by_rows(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """[rows, columns] -> float8 of the same shape, and the scale of each row [rows, 1]."""
    wide = values.float()
    scale = wide.abs().amax(-1, keepdim=True).clamp(min=1e-12) / HIGHEST
    return (wide / scale).to(torch.float8_e4m3fn), scale


_by_rows_compiled = torch.compile(_by_rows, dynamic=True)


def _product8(x: torch.Tensor, weight8: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """x [rows, k] @ weight8 [n, k]'; scale [1, n]."""
    x8, x_scale = _by_rows_compiled(x)
    return torch._scaled_mm(x8, weight8.t(), x_scale, scale, out_dtype=x.dtype, use_fast_accum=True)


@torch.library.custom_op("retune::lora_linear8", mutates_args=())
def lora_linear8(
    x: torch.Tensor,
    rows8: torch.Tensor,
    row_scale: torch.Tensor,
    columns8: torch.Tensor,
    column_scale: torch.Tensor,
    down: torch.Tensor,
    up: torch.Tensor,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    low = x @ down.t()
    y = _product8(x, rows8, row_scale)
    y.addmm_(low, up.t(), alpha=scale)
    return y, low


@lora_linear8.register_fake
def _(
    x: torch.Tensor,
    rows8: torch.Tensor,
    row_scale: torch.Tensor,
    columns8: torch.Tensor,
    column_scale: torch.Tensor,
    down: torch.Tensor,
    up: torch.Tensor,
    scale: float,
) -> Any:
    return x.new_empty(x.shape[0], rows8.shape[0]), x.new_empty(x.shape[0], down.shape[0])


@torch.library.custom_op("retune::lora_linear8_backward", mutates_args=())
def lora_linear8_backward(
    grad: torch.Tensor,
    x: torch.Tensor,
    low: torch.Tensor,
    columns8: torch.Tensor,
    column_scale: torch.Tensor,
    down: torch.Tensor,
    up: torch.Tensor,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    grad_low = (grad @ up) * scale
    grad_x = _product8(grad, columns8, column_scale)
    grad_x.addmm_(grad_low, down)
    return grad_x, grad_low.t() @ x, (grad.t() @ low) * scale


@lora_linear8_backward.register_fake
def _(
    grad: torch.Tensor,
    x: torch.Tensor,
    low: torch.Tensor,
    columns8: torch.Tensor,
    column_scale: torch.Tensor,
    down: torch.Tensor,
    up: torch.Tensor,
    scale: float,
) -> Any:
    return torch.empty_like(x), torch.empty_like(down), torch.empty_like(up)


def _keep8(ctx: Any, inputs: Any, output: Any) -> None:
    x, _rows8, _row_scale, columns8, column_scale, down, up, scale = inputs
    ctx.save_for_backward(x, output[1], columns8, column_scale, down, up)
    ctx.scale = scale


def _backward8(ctx: Any, grad: torch.Tensor, _: torch.Tensor) -> Any:
    x, low, columns8, column_scale, down, up = ctx.saved_tensors
    grads = lora_linear8_backward(grad.contiguous(), x, low, columns8, column_scale, down, up, ctx.scale)
    return grads[0], None, None, None, None, grads[1], grads[2], None


lora_linear8.register_autograd(_backward8, setup_context=_keep8)
