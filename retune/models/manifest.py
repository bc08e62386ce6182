"""The manifest of a model folder: model.json. Light, so that the flow can read it without torch."""

import json
from dataclasses import dataclass
from pathlib import Path

from retune.errors import Refused, WrongUse


@dataclass(frozen=True)
class ClassifierManifest:
    method: str  # probe, lora or full
    labels: list[str]  # in the order of the head's rows
    base_name: str
    base_sha256: str  # of the base's weights
    max_tokens: int  # longer texts are cut
    temperature: float = 1.0  # that the logits are divided by; a manifest of an earlier release has none


@dataclass(frozen=True)
class CausalLMManifest:
    """The manifest of a causal language model. Unlike a classifier's, it has a task."""

    task: str  # instruct or prefer
    method: str  # full, lora, qlora, dora, ia3 or prompt
    base_name: str
    base_sha256: str  # of the base's weights
    max_tokens: int  # of prompt and completion together
    max_new_tokens: int  # of the longest completion of its rows; replay examples may be longer
    template: str  # its name; the tokenizer holds its text

    @property
    def prompt_limit(self) -> int:
        """The largest number of prompt tokens that leaves room for the longest answer; the beginning is cut."""
        return max(1, self.max_tokens - self.max_new_tokens)


def write(manifest: ClassifierManifest | CausalLMManifest, folder: Path) -> None:
    text = json.dumps(manifest.__dict__, indent=2, ensure_ascii=False)
    (folder / "model.json").write_text(text + "\n", "utf-8")


def read(folder: Path) -> ClassifierManifest | CausalLMManifest:
    """Raises WrongUse if `folder` is not a model folder, Refused if its model.json is damaged."""
    try:
        values = json.loads((folder / "model.json").read_text("utf-8"))
        return CausalLMManifest(**values) if "task" in values else ClassifierManifest(**values)
    except FileNotFoundError:
        raise WrongUse(f"{folder} is not a model folder: it has no model.json") from None
    except (json.JSONDecodeError, TypeError) as error:
        raise Refused(f"{folder / 'model.json'} is damaged: {error}") from None


def read_classifier(folder: Path) -> ClassifierManifest:
    """The manifest of a classifier."""
    manifest = read(folder)
    if not isinstance(manifest, ClassifierManifest):
        raise WrongUse(f"the model in {folder} writes texts (task {manifest.task}) and has no labels")
    return manifest


def read_causal_lm(folder: Path) -> CausalLMManifest:
    """The manifest of a causal language model."""
    manifest = read(folder)
    if not isinstance(manifest, CausalLMManifest):
        raise WrongUse(f"the model in {folder} predicts labels (task classify) and does not write texts")
    return manifest
