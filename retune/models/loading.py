"""Load the model folder of any task."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from retune.models import causal_lm, classifier, manifest


class Served(Protocol):
    def predict(self, texts: Sequence[str], batch_size: int = ...) -> classifier.Predictions: ...


def load(folder: Path, device: str = "auto") -> Served:
    """Raises WrongUse if `folder` is not a model folder."""
    return (
        causal_lm.load(folder, device)
        if isinstance(manifest.read(folder), manifest.CausalLMManifest)
        else classifier.load(folder, device)
    )
