"""Pieces of Markdown that several pages use."""

from collections.abc import Iterable, Sequence

GENERATED = "Generated from {source} by `make docs`; an edit here is lost."


def head(title: str, answer: str, source: str) -> list[str]:
    """A page's title, the sentence that answers its question, and where it comes from."""
    return [f"# {title}", "", answer, "", GENERATED.format(source=source), ""]


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [columns, ["---"] * len(columns), *rows]
    return [*(f"| {' | '.join(map(_cell, line))} |" for line in lines), ""]


def code(text: str) -> str:
    """A code span, or nothing for nothing."""
    return f"`{text}`" if text else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
