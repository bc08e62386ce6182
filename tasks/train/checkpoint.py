"""How a killed run goes on to the same bits: checkpoints that are complete or not there at all.

They live outside DVC's outputs (which DVC deletes before a stage runs), in a folder named by the fingerprint
of everything that the run depends on, so that no run ever takes another's. Safetensors and JSON, no pickle.
A checkpoint is written under another name, then renamed. A sha256 over both its files shows damage: a damaged one is
left out, with a warning, for the one before it.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors.torch import load, save

from retune.errors import Broken
from retune.system import failpoints

KEEP = 2  # the newest, and one before it in case the newest is damaged

Tensors = dict[str, torch.Tensor]
Checkpoint = tuple[Tensors, dict[str, Any]]  # the tensors, and the state beside them


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run, in one folder."""

    folder: Path

    def save(self, step: int, tensors: Tensors, state: dict[str, Any]) -> None:
        """`state` must be JSON; floats survive it exactly."""
        target = self.folder / f"step-{step:08d}"
        unfinished = self.folder / f".{target.name}"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        data, text = save(tensors), json.dumps(state).encode()
        (unfinished / "tensors.safetensors").write_bytes(data)
        failpoints.point("checkpoint:unfinished")
        (unfinished / "state.json").write_bytes(text)
        (unfinished / "sha256").write_bytes(_digest(data, text))
        if target.exists():
            shutil.rmtree(target)
        unfinished.rename(target)
        failpoints.point("checkpoint:whole")
        for old in self._newest_first()[KEEP:]:
            shutil.rmtree(old)

    def newest(self) -> Checkpoint | None:
        return next(self._complete(), (0, None))[1]

    def steps(self) -> list[int]:
        """Of all that are complete, the newest first."""
        return [step for step, _ in self._complete()]

    def load(self, step: int) -> Checkpoint | None:
        return next((checkpoint for number, checkpoint in self._complete() if number == step), None)

    def _complete(self) -> Iterator[tuple[int, Checkpoint]]:
        """The newest first, each read when it is asked for; what is unfinished or damaged is swept."""
        for unfinished in self.folder.glob(".step-*"):
            shutil.rmtree(unfinished)
        for folder in self._newest_first():
            try:
                data, text = (folder / "tensors.safetensors").read_bytes(), (folder / "state.json").read_bytes()
                complete = (folder / "sha256").read_bytes() == _digest(data, text)
            except OSError:
                complete = False
            if complete:
                yield int(folder.name.removeprefix("step-")), (load(data), json.loads(text))
            else:
                print(f"warning: the checkpoint {folder} is damaged and is left out", flush=True)
                shutil.rmtree(folder)

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"), reverse=True)


def _digest(data: bytes, text: bytes) -> bytes:
    return hashlib.sha256(data + text).hexdigest().encode()


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold `folder` while training; a second trainer of the same fingerprint is refused at once.

    The lock is the operating system's: it goes with the process, however that ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "trainer.lock", blocking=False):
            yield
    except Timeout:
        raise Broken(f"another trainer is at work on the same model in {folder}: wait for it, or stop it") from None
