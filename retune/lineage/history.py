"""Which version was registered, which became champion, when, why and by whom: annotated git tags in a chain.

    classifier@v3.0.0#5      entry 5 of the model `classifier`: version 3 was registered
    classifier#approved#6    entry 6: a person approved it (or rejected it: classifier#rejected#6)
    classifier#champion#7    entry 7: it became champion
    classifier#decided#8     entry 8: a retraining was decided on, or that there was nothing to do
    classifier#reviewed#9    entry 9: people compared what it writes with what another writes
    classifier#rollout#10    entry 10: while served beside the champion, it took a step, or was rolled back

The names follow GTO's convention and each tag hangs on the version's recorded commit, so `gto show`, `gto history`
and `git show` tell the same story without Retune, and git keeps the commit for as long as the tag is there. A decision
hangs on the champion's, or on the commit that is checked out while there is no champion. Each
message says its number and the sha256 of the entry before (of what `git cat-file tag` prints), so an entry that
was edited, removed or moved is found. The last entry has none after it: its number and hash also stand in the
registry, and whoever reads the chain hands them in. No entry is added to a chain that lacks what stands there.
"""

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from retune.errors import Broken, Refused
from retune.lineage import entry_message
from retune.lineage.check import Check
from retune.lineage.entry_facts import EntryFacts, Fact
from retune.lineage.entry_message import TAG, EntryMessage, is_fact_name
from retune.system import failpoints, git
from retune.system.locks import waiting

REGISTERED, CHAMPION = entry_message.REGISTERED, "champion"
DECIDED, APPROVED, REJECTED, REVIEWED = "decided", "approved", "rejected", "reviewed"
ROLLOUT = "rollout"
PROMOTED, ROLLBACK, BY_HAND = "promoted", "rollback", "by hand"  # how a version became champion
NO_VERSION = 0  # of a decision while there is no champion
TITLES = {
    REGISTERED: "was registered",
    CHAMPION: "became champion",
    APPROVED: "was approved",
    REJECTED: "was rejected",
    REVIEWED: "was reviewed",
    ROLLOUT: "moved in its rollout",
    DECIDED: "was champion when a retraining was decided on",
}
START = entry_message.FIRST  # head of an empty history
PATIENCE = 60  # seconds to wait for another writer
LOCK = threading.local()  # whether this thread holds the lock


@dataclass(frozen=True)
class Entry(EntryFacts):
    """One event in the life of a model."""

    number: int
    tag: str
    event: str  # registered | champion | decided | approved | rejected | reviewed | rollout
    model: str
    version: int
    at: str  # ISO 8601
    by: str  # Name <mail>
    why: tuple[str, ...]
    facts: dict[str, str]  # stored name (`Fact`) -> value
    previous: str  # sha256 of the entry before, or `none`
    sha256: str  # of this entry
    commit: str  # that the tag hangs on

    @property
    def version_name(self) -> str:
        """NAME/VERSION."""
        return f"{self.model}/{self.version}"

    @property
    def head(self) -> str:
        """What the registry keeps of the last entry."""
        return f"{self.number} {self.sha256}"


@dataclass(frozen=True)
class Chain:
    """The entries of one model in order, and the tags of its name that are no entries."""

    model: str
    entries: tuple[Entry, ...] = ()
    damaged: dict[str, str] = field(default_factory=dict)  # tag -> what is wrong with it

    @property
    def last(self) -> Entry | None:
        return self.entries[-1] if self.entries else None

    @property
    def head(self) -> str:
        return self.last.head if self.last else START

    def champion(self, at: datetime | None = None) -> Entry | None:
        """The entry that made the champion of that time; of now if no time is given."""
        promotions = reversed(self._promotions())
        return next((entry for entry in promotions if at is None or _time(entry.at) <= at), None)

    def _promotions(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.event == CHAMPION]

    def served(self, version: int) -> list[dict[str, str | None]]:
        """When a version was champion: `from` and `to`; `to` is None while it is."""
        promotions = self._promotions()
        ends = [*(entry.at for entry in promotions[1:]), None]
        return [
            {"from": entry.at, "to": end}
            for entry, end in zip(promotions, ends)  # noqa: B905 (without promotions, `ends` is longer)
            if entry.version == version
        ]

    def registered(self, version: int) -> Entry | None:
        return next((entry for entry in self.entries if (entry.event, entry.version) == (REGISTERED, version)), None)

    def answer(self, version: int) -> Entry | None:
        """The last answer of a person about a version: approved or rejected."""
        answers = (entry for entry in reversed(self.entries) if entry.event in (APPROVED, REJECTED))
        return next((entry for entry in answers if entry.version == version), None)

    def succession(self) -> list[int]:
        """The champions that a rollback returns to, one after another, the present one last.

        A rollback removes every champion after the version that it returned to, so that the next rollback goes
        further back, and never to a version that was rolled back from.
        """
        champions: list[int] = []
        for entry in self._promotions():
            if entry.how == ROLLBACK and entry.version in champions:
                champions = champions[: champions.index(entry.version)]
            champions = [*(version for version in champions if version != entry.version), entry.version]
        return champions

    def aliases(self, version: int) -> list[str]:
        """The aliases that follow from the history.

        The challenger is the newest version, if it never was champion and nobody has rejected it.
        """
        champion = self.champion()
        if champion and champion.version == version:
            return [CHAMPION]
        newest = max((entry.version for entry in self.entries if entry.event == REGISTERED), default=None)
        answer = self.answer(version)
        rejected = answer is not None and answer.event == REJECTED
        return ["challenger"] if version == newest and not self.served(version) and not rejected else []


Anchor = Callable[[Chain], object]  # keeps its head in the registry; raises Refused if it lacks what is kept there


def _time(at: str) -> datetime:
    return datetime.fromisoformat(at)


def names() -> list[str]:
    """The models that have a history."""
    tags = git.output("for-each-ref", "--format=%(refname:strip=2)", "refs/tags").split("\n")
    return sorted({match["name"] for match in map(TAG.match, tags) if match})


def read(model: str) -> Chain:
    """The history of a model, as far as it can be read."""
    refs = git.output(
        "for-each-ref", "--format=%(refname:strip=2) %(objectname)", f"refs/tags/{model}@*", f"refs/tags/{model}#*"
    )
    tags = dict(line.split(" ") for line in refs.split("\n") if line.startswith((f"{model}@", f"{model}#")))
    entries, damaged = [], {}
    for tag, content in _contents(tags).items():
        try:
            entries.append(_parse(tag, content))
        except ValueError as error:
            damaged[tag] = str(error)
    return Chain(model, tuple(sorted(entries, key=lambda entry: (entry.number, entry.tag))), damaged)


def _contents(tags: dict[str, str]) -> dict[str, bytes | None]:
    """tag -> the bytes of its object, empty if it is no annotated tag; None where git cannot read it."""
    pairs = zip(tags, git.objects(list(tags.values())), strict=True)
    return {tag: entry and (entry.content if entry.kind == "tag" else b"") for tag, entry in pairs}


def _parse(tag: str, content: bytes | None) -> Entry:
    """content: the bytes of the tag's object. Raises ValueError with the reason if this is no entry."""
    if content is None:
        raise ValueError("git cannot read it: its object is damaged or missing")
    if not content:
        raise ValueError("is no entry of Retune: its name or kind is another")
    try:
        header, _, text = content.decode().partition("\n\n")
    except UnicodeDecodeError:
        raise ValueError("is no text") from None
    fields = dict(line.partition(" ")[::2] for line in header.split("\n"))
    message = EntryMessage.parse(tag, text)
    tagger = re.match(r"^(?P<by>.*<.*>) (?P<seconds>\d+) [+-]\d{4}$", fields.get("tagger", ""))
    if not tagger or "object" not in fields:
        raise ValueError("its message does not end in the fields of an entry")
    if fields.get("tag") != tag:
        raise ValueError("its name and its message disagree: tag")
    return Entry(
        number=message.number,
        tag=tag,
        event=message.event,
        model=message.model,
        version=message.version,
        at=datetime.fromtimestamp(int(tagger["seconds"]), UTC).isoformat(),
        by=tagger["by"],
        why=message.why,
        facts=message.facts,
        previous=message.previous,
        sha256=hashlib.sha256(content).hexdigest(),
        commit=fields["object"],
    )


def check(chain: Chain, head: str | None) -> list[Check]:
    """Every entry against the one before and the last against `head`, as the registry keeps it.

    A link that fails names the entry and the one before: it holds the hash that the one before had when it was written.
    """
    links = [Check(f"history {tag}", "an entry", why, False) for tag, why in chain.damaged.items()]
    previous, before = START, ""
    for number, entry in enumerate(chain.entries, 1):
        if entry.number != number:
            links.append(Check(f"history {entry.tag}", f"entry {number}", f"entry {entry.number}", False))
        follows = entry.previous == previous
        both = f" on {before}" if before and not follows else ""  # either of the two may be the one that was altered
        links.append(Check(f"history {entry.tag}{both}", entry.previous, previous, follows))
        if (record := entry.facts.get(Fact.RECORD)) != entry.commit:
            links.append(Check(f"history {entry.tag} commit", record or "none", entry.commit, False))
        previous, before = entry.sha256, entry.tag
    links.append(Check("history, last entry", head or START, chain.head, (head or START) == chain.head))
    return links


def must_hold(chain: Chain, head: str | None) -> None:
    """Raises Refused if the chain lacks entries that it had when the registry stored `head`, or one in between.

    It may be ahead of the registry: a crash can come between an entry and its head in the registry. Without a head the
    chain counts as it is: that is how a person continues who has lost entries for good.
    """
    previous = [START, *(entry.sha256 for entry in chain.entries)]
    tags = ["the start", *(entry.tag for entry in chain.entries)]
    loose = [
        f"{entry.tag} does not follow on {before}"
        for entry, before, sha256 in zip(chain.entries, tags, previous, strict=False)
        if entry.previous != sha256
    ]
    if loose:
        problem = f"{loose[0]}: one of the two was altered, or an entry between them is gone"
    elif head is None or head in [entry.head for entry in chain.entries]:
        return
    else:
        number, _, sha256 = head.partition(" ")
        last = chain.last.tag if chain.last else "none"
        problem = f"the registry knows entry {number} (sha256 {sha256[:12]}), the last one here is {last}"
    raise Refused(
        f"the history of {chain.model} is not whole: {problem}. Nothing was written or repaired. Bring its tags back "
        "by `git fetch --tags` from where they were pushed or from a backup; if they are lost for good, "
        'docs/how-to/operate/troubleshooting.md says how to go on ("The history is not whole"). '
        f"`retune history {chain.model} --verify` checks it"
    )


@contextmanager
def writing() -> Iterator[None]:
    """Hold the lock of all histories: what is read inside stays true until the end. The holder may enter again."""
    if getattr(LOCK, "is_held", False):
        yield
        return
    lock = Path(git.output("rev-parse", "--git-common-dir")) / "retune-history.lock"  # one for all worktrees
    with waiting(lock, PATIENCE, "writer"):
        LOCK.is_held = True
        try:
            yield
        finally:
            LOCK.is_held = False


def append(
    model: str,
    version: int,
    event: str,
    why: Sequence[str],
    facts: dict[str, str],
    anchor: Anchor,
    at: datetime | None = None,
) -> Entry:
    """Add an entry, unless the same entry exists; each decision and each review is a new one.

    facts[Fact.RECORD] is the commit that the tag hangs on. `anchor` is called before and after: before, it refuses a
    chain that has lost entries, which a new entry would hide, and repairs what a crash has left in between.
    """
    with writing():
        chain = read(model)
        anchor(chain)
        if same := _same(chain, version, event):
            return same
        _write(model, version, event, why, facts, chain, at)
        failpoints.point("history:tagged")
        chain = read(model)
        anchor(chain)
        assert chain.last
        return chain.last


def _same(chain: Chain, version: int, event: str) -> Entry | None:
    """The existing entry that says the same as a new one would."""
    if event == REGISTERED:
        return chain.registered(version)
    last = {CHAMPION: chain.champion(), APPROVED: chain.answer(version), REJECTED: chain.answer(version)}.get(event)
    return last if last and (last.event, last.version) == (event, version) else None


def append_decision(
    model: str,
    why: Sequence[str],
    facts: dict[str, str],
    anchor: Anchor,
    at: datetime | None = None,
) -> Entry:
    """Add the decision about a retraining. facts: its inputs and thresholds, each named by one capitalised word."""
    with writing():
        champion = read(model).champion()
        if champion:
            version, commit = champion.version, champion.commit
        else:
            version, commit = NO_VERSION, git.output("rev-parse", "HEAD")
        return append(model, version, DECIDED, why, {**facts, Fact.RECORD: commit}, anchor, at)


def _write(
    model: str, version: int, event: str, why: Sequence[str], facts: dict[str, str], chain: Chain, at: datetime | None
) -> None:
    if odd := [key for key in facts if not is_fact_name(key)]:
        raise Broken(f"{', '.join(map(repr, odd))} cannot be a fact of a history entry: its name must be like Seal")
    numbers = [entry.number for entry in chain.entries] + [_number(tag) for tag in chain.damaged]
    message = EntryMessage(
        title=f"{model}/{version} {TITLES[event]}" if version else f"{model} had no champion when it was decided on",
        number=max(numbers, default=0) + 1,
        event=event,
        model=model,
        version=version,
        previous=chain.last.sha256 if chain.last else START,
        why=tuple(why),
        facts=facts,
    )
    try:
        git.tag(message.tag, facts[Fact.RECORD], message.format(), _moment(chain, at))
    except git.GitError as error:
        raise Broken(f"the history entry {message.tag} could not be written: {error.stderr}") from None


def _number(tag: str) -> int:
    name = TAG.match(tag)
    return int(name["number"]) if name else 0


def _moment(chain: Chain, at: datetime | None) -> int:
    """Seconds since 1970, later than the last entry: tags know whole seconds, and GTO orders by them."""
    last = int(_time(chain.last.at).timestamp()) if chain.last else 0
    if at is not None:
        return max(int(at.timestamp()), last + 1)
    while 0 <= last - time.time() + 1 <= 1:
        time.sleep(0.05)
    return max(int(time.time()), last + 1)
