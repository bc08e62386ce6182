"""The time that a candidate takes, beside the champion's, and whether it is within its limit."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

TEXT, TOKEN = "text", "token"  # what a time is of


@dataclass(frozen=True)
class Latency:
    """Milliseconds a text, or a token written, of both in one sitting (`tasks.latency`)."""

    candidate: float
    champion: float
    ratio: float
    texts: int
    passes: int
    per: str | None = None  # TEXT or TOKEN; None: a text, in records from before there was a choice
    candidate_tokens: int | None = None  # written to all texts; of generative models
    champion_tokens: int | None = None

    @property
    def by_text(self) -> float:
        """The ratio of the times for a whole text."""
        if self.per != TOKEN:
            return self.ratio
        return self.ratio * (self.candidate_tokens or 1) / (self.champion_tokens or 1)


def parse(values: Mapping[str, Any]) -> Latency:
    """From the file that `tasks.latency` writes, or from a record."""
    return Latency(**values)


def as_record(latency: Latency) -> dict[str, Any]:
    return {name: value for name, value in asdict(latency).items() if value is not None}


def is_too_slow(latency: Latency, limit: float) -> bool:
    """By the token and by the text: longer answers take longer, and reading the prompt is most of a short one."""
    return not min(latency.ratio, latency.by_text) <= limit


def reason(latency: Latency, limit: float) -> str:
    """The sentence of a record. It is compared to the letter, so records that do not say `per` keep their old words."""
    candidate, champion = f"{latency.candidate:.3g} ms a text", f"the champion {latency.champion:.3g}"
    if latency.per == TOKEN:
        lengths = [(count or 0) / latency.texts for count in (latency.candidate_tokens, latency.champion_tokens)]
        candidate = f"{latency.candidate:.3g} ms a token written ({lengths[0]:.3g} tokens a text)"
        champion += f" ({lengths[1]:.3g})"
    key = "promote.latency_ratio; " if latency.per else ""
    by_text = f" ({latency.by_text:.2f} a text)" if latency.per == TOKEN else ""
    verdict = "above" if is_too_slow(latency, limit) else "within"
    return (
        f"{candidate}, {champion}: ratio {latency.ratio:.2f}{by_text}, {verdict} the bound of {limit:g} "
        f"({key}median of {latency.passes} passes over {latency.texts} texts)"
    )
