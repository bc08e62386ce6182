"""LoRA's layer as one operation: y = x W' + s (x A') B', forwards and backwards, in the fewest passes over memory.

The low-rank part is added into the output where it lies. The sums are those of Hu et al. 2021 (arXiv:2106.09685).

The frozen W may be kept in 8-bit floats, a scale for each row of what is multiplied: half the memory, and on Hopper
twice the arithmetic. Then it is kept both ways round, since the gradient of x needs it by columns.
"""

from typing import Any

import torch
from torch.nn.functional import ScalingType, scaled_mm

HIGHEST = 448.0  # of float8_e4m3fn
SMALLEST = 1e-12  # scale, for a row of nothing but zeros

# What is frozen is a list: [weight], or [rows in 8 bits, their scales, columns in 8 bits, their scales].
Frozen = list[torch.Tensor]


@torch.library.custom_op("retune::lora_linear", mutates_args=())
def lora_linear(
    x: torch.Tensor, frozen: Frozen, down: torch.Tensor, up: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """x: [rows, in]; frozen: [out, in]; down: [rank, in]; up: [out, rank].

    Returns y: [rows, out], and x down': [rows, rank], which the gradients need again.
    """
    low = x @ down.t()
    if len(frozen) > 1:
        return _product8(x, *frozen[:2]).addmm_(low, up.t(), alpha=scale), low
    return (low @ up.t()).addmm_(x, frozen[0].t(), beta=scale), low  # the large product adds while it computes


@torch.library.custom_op("retune::lora_linear_backward", mutates_args=())
def lora_linear_backward(
    grad: torch.Tensor,
    x: torch.Tensor,
    low: torch.Tensor,
    frozen: Frozen,
    down: torch.Tensor,
    up: torch.Tensor,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The gradients of x, down and up from that of y."""
    grad_low = (grad @ up) * scale
    if len(frozen) > 1:
        grad_x = _product8(grad, *frozen[2:]).addmm_(grad_low, down)
    else:
        grad_x = (grad_low @ down).addmm_(grad, frozen[0])
    return grad_x, grad_low.t() @ x, (grad.t() @ low) * scale


@lora_linear.register_fake
def _(x: torch.Tensor, _frozen: Frozen, down: torch.Tensor, up: torch.Tensor, _scale: float) -> Any:
    return x.new_empty(x.shape[0], up.shape[0]), x.new_empty(x.shape[0], down.shape[0])


@lora_linear_backward.register_fake
def _(
    _grad: torch.Tensor,
    x: torch.Tensor,
    _low: torch.Tensor,
    _frozen: Frozen,
    down: torch.Tensor,
    up: torch.Tensor,
    _scale: float,
) -> Any:
    return torch.empty_like(x), torch.empty_like(down), torch.empty_like(up)


def _keep(ctx: Any, inputs: Any, output: Any) -> None:
    x, frozen, down, up, ctx.scale = inputs
    ctx.save_for_backward(x, output[1], down, up, *frozen)


def _backward(ctx: Any, grad: torch.Tensor, _: torch.Tensor) -> Any:
    x, low, down, up, *frozen = ctx.saved_tensors
    grad_x, grad_down, grad_up = lora_linear_backward(grad.contiguous(), x, low, frozen, down, up, ctx.scale)
    return grad_x, [None] * len(frozen), grad_down, grad_up, None


lora_linear.register_autograd(_backward, setup_context=_keep)


def frozen_in_8_bits(weight: torch.Tensor) -> Frozen:
    layers = []
    for values in (weight, weight.t().contiguous()):
        eight, scale = _by_rows(values)
        layers += [eight, scale.t().contiguous()]
    return layers


def _product8(x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """x: [rows, k], rounded to 8 bits row by row; weight: [n, k] in 8 bits; scale: [1, n]. Returns [rows, n]."""
    eight, scales = _by_rows_compiled(x)
    each_row = ScalingType.RowWise
    return scaled_mm(
        eight, weight.t(), scales, each_row, scale, each_row, output_dtype=x.dtype, use_fast_accum=True
    )  # fast: partial sums are kept in fewer bits than float32


def _by_rows(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """[rows, columns] -> 8-bit floats of the same shape, and the scale of each row [rows, 1]."""
    wide = values.float()
    scale = wide.abs().amax(-1, keepdim=True).clamp(min=SMALLEST) / HIGHEST
    return (wide / scale).to(torch.float8_e4m3fn), scale


_by_rows_compiled = torch.compile(_by_rows, dynamic=True)
