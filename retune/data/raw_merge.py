"""Join two versions of data/raw, by their listings: parts are only ever added, so all that either side has is right.

Where a side took a part away, or the sides have other bytes under one name, only a person knows what is meant.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from retune.data import source_facts
from retune.errors import Refused

Listing = Mapping[str, str]  # path in data/raw -> md5


class NotOnlyAdded(Refused):
    """The sides differ in more than in what they added."""


@dataclass(frozen=True)
class Facts:
    """What both sides state of their sources, joined."""

    stated: source_facts.Stated
    overruled: tuple[str, ...]  # what theirs states and ours states otherwise, in words


def join_parts(base: Listing, our_side: Listing, their_side: Listing) -> dict[str, str]:
    """The parts of both sides, without the file of sources. Raises NotOnlyAdded."""
    for side, name in ((our_side, "ours"), (their_side, "theirs")):
        if absent := sorted(set(base) - set(side) - {source_facts.FILE}):
            raise NotOnlyAdded(
                f"{', '.join(absent)} stood in data/raw before the sides part, and not in {name}: rows were taken away",
                remedy="choose a side: `git checkout --ours data/raw.dvc` (or --theirs), then "
                "`dvc checkout data/raw.dvc`",
            )
    joined = {**their_side, **our_side}
    joined.pop(source_facts.FILE, None)
    if others := sorted(path for path in joined if joined[path] != their_side.get(path, joined[path])):
        raise NotOnlyAdded(
            f"both sides have other bytes as {', '.join(others)}",
            remedy="choose a side: `git checkout --ours data/raw.dvc` (or --theirs), then `dvc checkout data/raw.dvc`",
        )
    return joined


def join_facts(sides: Sequence[bytes | None]) -> Facts | None:
    """What base, ours and theirs state of their sources; None if no side states anything.

    What one side alone has changed is taken; where both have, ours stands.
    """
    base, our_side, their_side = (json.loads(side) if side else {} for side in sides)
    if not our_side and not their_side:
        return None
    joined, overruled = {name: dict(facts) for name, facts in our_side.items()}, []
    for name, facts in their_side.items():
        for key, value in facts.items():
            old, mine = base.get(name, {}).get(key), our_side.get(name, {}).get(key)
            if mine in (None, old):
                joined.setdefault(name, {})[key] = value
            elif value not in (old, mine):
                overruled.append(f"the {key} of {name} stays {mine!r}; theirs says {value!r}")
    return Facts(joined, tuple(overruled))


def encode(listing: Listing) -> bytes:
    """A listing as DVC keeps it in its store."""
    entries = [{"md5": listing[path], "relpath": path} for path in sorted(listing)]
    return json.dumps(entries, sort_keys=True).encode()
