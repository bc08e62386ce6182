"""The finding of a check of the data, in validation and before training."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    name: str
    expected: str
    found: str
    success: bool
    examples: list[str]  # row ids
