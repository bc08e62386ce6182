"""Write the index of the decisions from their heads: DECISIONS.md, and docs/decisions/index.md for the site.

python docs/decision_index.py
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = Path("docs/decisions")
INDEXES = {"DECISIONS.md": f"{FOLDER}/", f"{FOLDER}/index.md": ""}  # the page: how its links begin
HEADER = re.compile(
    r"# (?P<number>\d{4})\. (?P<title>.+)\n\n"
    r"- Status: (?P<status>.+)\n- Date: (?P<date>.+)\n- Subject: (?P<subject>.+)\n"
)
INTRODUCTION = """# Decisions

Each decision of weight has a page: what was chosen and why, what was tried and failed, with the figures. A page is not
rewritten when a decision changes: a new one supersedes it, and its status says by which.
`python docs/decision_index.py` writes this index from the pages.
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


def index(pages: list[Decision], prefix: str) -> str:
    """One table a subject, in the order in which the subjects came up."""
    lines = [INTRODUCTION]
    for subject in dict.fromkeys(page.subject for page in pages):
        lines += [f"## {subject}\n", "| | decision | status | date |", "|---|---|---|---|"]
        for page in (page for page in pages if page.subject == subject):
            status = re.sub(r"\[(\d+)\]\([^)]*\)", r"\1", page.status)
            lines.append(f"| {page.number} | [{page.title}]({prefix}{page.file}) | {status} | {page.date} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    for name, prefix in INDEXES.items():
        (ROOT / name).write_text(index(decisions(), prefix), "utf-8")


if __name__ == "__main__":
    main()
