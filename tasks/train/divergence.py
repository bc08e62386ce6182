"""A training whose numbers are no longer finite ends at that step, and says which learning rate to lower."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from retune.errors import Refused

Values = Mapping[str, torch.Tensor | float]


class Diverged(Refused):
    """Nothing of this training is of use: with the same parameters it diverges at the same step again."""


@dataclass
class StepWatch:
    """Notices the first step whose loss, gradients or scores are not finite.

    A CPU is asked at once. A GPU would have to wait at every step, so `check` asks about the last few together, before
    anything is logged, validated or saved. The step that Diverged names is the one that broke.
    """

    rate_names: Sequence[str]  # the parameters that hold the learning rates
    total: int  # steps
    pending: list[tuple[int, float, Values]] = field(default_factory=list)

    def add(self, step: int, rate: float, losses: Values, norm: torch.Tensor) -> None:
        """`step` counts from 1; `norm`: of the gradients, before they are scaled down. Raises Diverged."""
        self.pending.append((step, rate, {**losses, "gradient_norm": norm.detach()}))
        if norm.device.type == "cpu":
            self.check()

    def check(self) -> None:
        """Raises Diverged for the first of the steps since the last call."""
        steps, self.pending = self.pending, []
        for step, rate, values in steps:
            self.require_finite(step, rate, values)

    def require_finite(self, step: int, rate: float, values: Values) -> None:
        """Raises Diverged if one of the values, known after `step`, is not finite."""
        for name, value in values.items():
            if math.isfinite(number := float(value)):
                continue
            names = " or ".join(self.rate_names)
            raise Diverged(
                f"training diverged: {name} is {number} at step {step} of {self.total}, with a learning rate of "
                f"{rate:g}",
                remedy=f"lower {names}"
                if step > 1
                else f"lower {names}; if that does not help, check the base's weights, and write train.precision: fp32",
            )
