"""What every section of params.yaml is made of: the strict frozen base, the types of its values, and `about`.

This package holds no values, so it changes no result and no stage depends on it.
"""

import re
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def section(cls: type[T]) -> type[T]:
    """A frozen dataclass that refuses unknown keys and values of another type."""
    return dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))(cls)  # type: ignore[return-value]


def about(description: str, usual: str | None = None) -> Any:
    """What a parameter means, with its unit, and the usual range of its values."""
    return Field(description=description, json_schema_extra={"usual": usual} if usual else None)


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"not an absolute path: {path!r}. A run works in a folder of its own: begin the path with /")
    return path


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("name the environment variable that holds it, such as DESK_TOKEN; not the secret itself")
    return name


Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Share = Annotated[float, Field(ge=0, lt=1)]
SplitShare = Annotated[float, Field(gt=0, lt=0.5)]
Limit = Annotated[float, Field(ge=0, le=1)]
Gain = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Confidence = Annotated[float, Field(gt=0.5, lt=1)]
Resamples = Annotated[int, Field(ge=100)]
Tokens = Annotated[int, Field(ge=8)]
Text = Annotated[str, Field(pattern=r"\S")]  # not empty
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
# GTO accepts only these names, and the history consists of its tags.
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?$", max_length=100)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
BaseName = Annotated[str, Field(pattern=r"^(package:[A-Za-z0-9._-]+|folder:.+|hub:[^@\s]+@[0-9a-f]{40})$")]
AbsolutePath = Annotated[str, AfterValidator(_absolute)]
Variable = Annotated[str, AfterValidator(_variable)]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16"]
Schedule = Literal["linear", "cosine", "constant"]
OnMissing = Literal["refuse", "warn"]
Event = Literal["promoted", "held", "refused", "failed", "recovered", "unhealthy", "awaiting", "rolled_back"]
