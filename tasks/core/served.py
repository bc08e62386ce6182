"""A model folder of any task, ready to be asked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tasks.core import card, decoder, model


class Served(Protocol):
    def predict(self, texts: Sequence[str], batch_size: int = ...) -> model.Predictions: ...


def load(folder: Path, device: str = "auto") -> Served:
    """Raises WrongUse if `folder` is no model folder."""
    return decoder.load(folder, device) if isinstance(card.read(folder), card.Writes) else model.load(folder, device)
