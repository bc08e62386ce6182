"""What a check of the data finds: in the report of validation, and before training."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    name: str
    expected: str
    found: str
    success: bool
    examples: list[str]  # row ids
