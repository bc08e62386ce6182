"""One registered version of a model."""

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Version:
    """One registered version of a model."""

    name: str
    version: int
    run_id: str
    created: str  # ISO 8601, UTC
    aliases: tuple[str, ...]
    tags: dict[str, str]

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.version}"

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


def iso_time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
