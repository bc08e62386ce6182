"""DECISIONS.md, and docs/decisions/index.md for the site: the index of the decisions, from their heads."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path("docs/decisions")
INDEXES = {"DECISIONS.md": f"{FOLDER}/", f"{FOLDER}/index.md": ""}  # the page: how its links begin
HEADER = re.compile(
    r"# (?P<number>\d{4})\. (?P<title>.+)\n\n"
    r"- Status: (?P<status>.+)\n- Date: (?P<date>.+)\n- Subject: (?P<subject>.+)\n"
)
INTRODUCTION = """# Decisions

Each decision of weight has a page: what was chosen and why, what was tried and failed, with the figures. A page is not
rewritten when a decision changes: a new one supersedes it, and its status says by which.
`make docs` writes this index from the pages.
"""


@dataclass(frozen=True)
class Decision:
    file: str
    number: str
    title: str
    status: str
    date: str
    subject: str


def decision(page: Path) -> Decision:
    header = HEADER.match(page.read_text("utf-8"))
    if header is None:
        raise SystemExit(f"{page}: its head is not that of a decision; copy the first five lines of another one")
    return Decision(page.name, **header.groupdict())


def decisions(root: Path = ROOT) -> list[Decision]:
    return [decision(page) for page in sorted((root / FOLDER).glob("[0-9]*.md"))]


def page(prefix: str) -> str:
    """One table a subject, in the order in which the subjects came up. Links begin with `prefix`."""
    pages, lines = decisions(), [INTRODUCTION]
    for subject in dict.fromkeys(each.subject for each in pages):
        lines += [f"## {subject}\n", "| | decision | status | date |", "|---|---|---|---|"]
        for each in (each for each in pages if each.subject == subject):
            status = re.sub(r"\[(\d+)\]\([^)]*\)", r"\1", each.status)
            lines.append(f"| {each.number} | [{each.title}]({prefix}{each.file}) | {status} | {each.date} |")
        lines.append("")
    return "\n".join(lines)
