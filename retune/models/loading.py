"""Load the model folder of any task."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from retune.models import classifier, manifest


class Served(Protocol):
    def predict(self, texts: Sequence[str], batch_size: int = ...) -> classifier.Predictions: ...


def load(folder: Path, device: str = "auto") -> Served:
    """Raises WrongUse if `folder` is not a model folder."""
    if not isinstance(manifest.read(folder), manifest.CausalLMManifest):
        return classifier.load(folder, device)
    from retune.models import causal_lm  # imports torch's compiler, which takes half the time of an answer

    return causal_lm.load(folder, device)
