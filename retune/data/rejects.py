"""The rows of a source that cannot be read: how many are too many, how they are told, and where they stay.

They stay in `data/raw` beside the part of the same number, as `00001-tickets-1a2b3c4d.rejects.jsonl`: an object a
line with the source, the place in it, the reason, what was wrong, and the row as it came.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retune.data.readers.table import Reject
from retune.errors import Refused
from retune.system.files import write_bytes

SUFFIX = ".rejects.jsonl"
SHOWN = 20  # rows that a message names


@dataclass(frozen=True)
class ReasonCount:
    reason: str
    rows: int
    example: str


def reasons(rejects: Sequence[Reject]) -> tuple[ReasonCount, ...]:
    """How many rows each reason rejects, the most frequent first, with the first of them as an example."""
    first: dict[str, Reject] = {}
    for reject in rejects:
        first.setdefault(reject.fault.reason, reject)
    counts = Counter(reject.fault.reason for reject in rejects)
    return tuple(ReasonCount(reason, rows, str(first[reason])) for reason, rows in counts.most_common())


def refuse_too_many(name: str, rejects: Sequence[Reject], received: int, max_share: float) -> None:
    """Raises Refused, which names the rows, if they are a larger share than `max_share` of those received."""
    if not rejects or len(rejects) <= max_share * received:
        return
    allowed = f"ingest.max_unreadable_share allows {max_share:.1%}" if max_share else "none is allowed"
    share = f"{len(rejects)} of {received} rows cannot be read, and {allowed}"
    if len(rejects) == 1:
        raise Refused(f"{name}, {rejects[0]} ({share})")
    lines = [f"  {reject}" for reject in rejects[:SHOWN]]
    if rest := rejects[SHOWN:]:
        lines.append("  and " + ", ".join(f"{each.rows} more with {each.reason}" for each in reasons(rest)))
    raise Refused("\n".join([f"{name}: {share}. Correct them:", *lines]))


def new_lines(rejects: Sequence[Reject], source: str, raw: Path) -> list[str]:
    """A line for each row, as it is kept; those that `raw` has already are left out."""
    lines = [_line(reject, source) for reject in rejects]
    existing = {line for path in raw.glob(f"*{SUFFIX}") for line in path.read_text("utf-8").splitlines()}
    return [line for line in lines if line not in existing]


def _line(reject: Reject, source: str) -> str:
    place = {"source": source, reject.unit: reject.place}
    fault = {"reason": reject.fault.reason, "message": reject.fault.message}
    return json.dumps({**place, **fault, "content": reject.content})  # ASCII, so that half a character can be kept


def unreadable(raw: Path) -> list[tuple[str, str]]:
    """Source and reason of each row that is kept in the folder `raw` because it could not be read."""
    lines = [line for path in sorted(raw.glob(f"*{SUFFIX}")) for line in path.read_text("utf-8").splitlines()]
    return [(each["source"], each["reason"]) for each in map(json.loads, lines)]


def write(lines: Sequence[str], raw: Path, name: str) -> Path:
    """Write the lines whole, into a file whose name is made of `name` and their hash."""
    content = "".join(f"{line}\n" for line in lines).encode()
    path = raw / f"{name}-{hashlib.sha256(content).hexdigest()[:8]}{SUFFIX}"
    write_bytes(path, content)
    return path
