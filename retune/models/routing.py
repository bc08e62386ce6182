"""Who answers: the model alone, or a person. automation.json beside model.json holds the thresholds.

`tasks.evaluate` chooses them and registration seals them with the version. A version without the file promises nothing,
so a person reads all of its answers.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retune.errors import Refused

FILE = "automation.json"
AUTO, HUMAN = "auto", "human"
NO_FILE = "this version carries no automation.json: it was registered before versions promised a precision"


@dataclass(frozen=True)
class Routing:
    threshold: float | None  # lowest confidence of an answer that nobody reads; None: a person reads them all
    labels: dict[str, float | None]  # the same of each label that has a threshold of its own
    reason: str  # why the thresholds are what they are

    @property
    def promises(self) -> bool:
        return any(bound is not None for bound in (self.threshold, *self.labels.values()))

    def thresholds(self, labels: Sequence[str]) -> np.ndarray:
        """[rows] the threshold of each predicted label; infinite where a person reads it in any case."""
        bounds = [self.labels.get(label, self.threshold) for label in labels]
        return np.array([np.inf if bound is None else bound for bound in bounds], dtype=float)

    def routes(self, labels: Sequence[str], confidence: np.ndarray) -> list[str]:
        """[rows] auto or human. labels: predicted; confidence: of these labels."""
        alone = np.asarray(confidence, dtype=float) >= self.thresholds(labels)
        return [AUTO if each else HUMAN for each in alone.tolist()]


def parse(document: Mapping[str, Any]) -> Routing:
    """Of what automation.json holds, or a record."""
    return Routing(document["threshold"], document["labels"], document["reason"])


def read(folder: Path) -> Routing:
    """The routing of a model folder. Raises Refused if its automation.json is damaged."""
    path = folder / FILE
    try:
        return parse(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return Routing(None, {}, NO_FILE)
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(f"{path} is damaged: {error!r}: register the version again") from None
