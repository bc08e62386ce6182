"""What every function of a training needs: its params, its device, its scratch folder, and where progress goes."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Self, TypeVar

import torch

from retune.config.classification import Train
from retune.config.generation import InstructTrain, PreferTrain
from retune.models import classifier

OnProgress = Callable[..., None]  # step, all steps, and values by name
Section = TypeVar("Section", bound=Train | InstructTrain | PreferTrain)
Config = TypeVar("Config", bound=Train | InstructTrain | PreferTrain, covariant=True)


@dataclass(frozen=True)
class TrainContext(Generic[Config]):
    """`config` is the train section. Training writes only below `work`."""

    config: Config
    device: torch.device
    work: Path
    on_progress: OnProgress

    def in_folder(self, name: str) -> Self:
        """The same, for a round whose checkpoints have a folder of their own."""
        return replace(self, work=self.work / name)

    def after(self, steps: int) -> Self:
        """The same, for a round that reports its progress as what follows on a round of `steps` steps."""

        def on_progress(step: int, total: int, **values: float) -> None:
            self.on_progress(steps + step, steps + total, **values)

        return replace(self, on_progress=on_progress)

    def refit(self, steps: int) -> Self:
        """The same, for the round on train and val that follows on the round that chose the epoch."""
        print("refit on train + val, for as many epochs as were best", flush=True)
        return self.after(steps).in_folder("refit")


def train_context(config: Section, work: Path, on_progress: OnProgress) -> TrainContext[Section]:
    """Raises WrongUse if `config` names a device that this machine does not have."""
    return TrainContext(config, classifier.pick_device(config.device), work, on_progress)


def make_deterministic(seed: int, deterministic: bool = True) -> None:
    """Seed torch and, with `deterministic`, let it compute every sum in one order from here on."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS may sum in another order
    torch.use_deterministic_algorithms(deterministic)
    torch.manual_seed(seed)


def warn(warnings: list[str]) -> list[str]:
    """Print each warning; returns them for the report."""
    for warning in warnings:
        print(f"warning: {warning}", flush=True)
    return warnings


def machine(device: torch.device) -> dict[str, str | int | bool]:
    """What computed, for the report."""
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "cuda": str(torch.version.cuda or "none"),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
