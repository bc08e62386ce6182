"""The facts of a history entry: their stored names, their types, and how they are parsed and formatted.

    entry.evidence, entry.how           # a fact that code asks for; None if the entry does not hold it
    entry.retraining.outcome            # of a retraining: its facts, parsed
    RetrainingFacts(...).format()       # for `history.append_decision`

An entry may hold facts of other names, and an old one may lack some: nothing here asks that all are there.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from retune.errors import Refused


class Fact(StrEnum):
    """The name of a fact as the message of an entry stores it, and what the fact says."""

    about: str

    def __new__(cls, name: str, about: str) -> Self:
        fact = str.__new__(cls, name)
        fact._value_, fact.about = name, about
        return fact

    # Of a version: its registration, and what is decided about it later.
    RECORD = "Record", "commit that the tag hangs on; of a version, the snapshot of the workspace that made it"
    FINGERPRINT = "Fingerprint", "fingerprint of the version"
    EVIDENCE = "Evidence", "sha256 of lineage.json"
    SEAL = "Seal", "sha256 of SHA256SUMS"
    SIGNER = "Signer", "sha256 of the public key that it is signed with, or `unsigned`"
    START = "Start", "version that training continued from, or `base`; older entries lack it"
    RAW = "Raw", "md5 of data/raw"
    TRAIN = "Train", "md5 of the train split"
    VAL = "Val", "md5 of the validation split"
    TEST = "Test", "md5 of the test split"
    GENERAL = "General", "md5 of the general examples that were learned from, if any were; they are no rows"
    # Of a champion, an approval or a rejection.
    HOW = "How", "way to become champion: `promoted`, `rollback` or `by hand`"
    CHECKED = "Checked", "what was checked before the version could serve"
    FORGOTTEN = "Forgotten", "suppressed rows that it learned from, if it serves all the same"
    GOLDEN = "Golden", "golden cases that it failed before it was registered, if it serves all the same"
    FLOW_RUN = "Flow-run", "flow run that waited for the answer, or `none`"
    # Of a review.
    SHEET = "Sheet", "sheet that people filled in"
    VERDICTS = "Verdicts", "sha256 of their verdicts"
    # Of a rollout.
    ROLLOUT = "Rollout", "id of the rollout"
    MOVE = "Move", "what it did: `start`, `advance`, `pause`, `resume`, `abort`, `roll back` or `complete`"
    STEP = "Step", "where it is then: `shadow`, or the share of subjects that the challenger answers"
    RIVAL = "Rival", "champion that it is compared with"
    SALT = "Salt", "salt of the hash that divides subjects"
    FIGURES = "Figures", "JSON: comparison -> what the decision rests on"
    # Of a retraining.
    DECISION = "Decision", "outcome of the retraining, or `train`"
    ABOUT = "About", "version that it is about, or `no version`"
    INPUTS = "Inputs", "JSON: what the decision rests on"
    THRESHOLDS = "Thresholds", "JSON: the section `trigger` of params.yaml"
    RUN = "Run", "flow run of the retraining"
    FAILED_SOURCES = "Failed-sources", "JSON: source -> why nothing could be taken from it; only if one failed"


class End(StrEnum):
    """How a retraining ended, in the word that its entry stores."""

    PROMOTED = "promoted"
    HELD = "held"
    AWAITING = "awaiting"
    REFUSED = "refused"
    FAILED = "failed"
    NOTHING = "nothing to do"
    TRAIN = "train"  # the decision to train: the end follows in an entry of its own


NO_VERSION = "no version"


@dataclass(frozen=True)
class RetrainingFacts:
    """What an entry says of a retraining."""

    outcome: End
    version: str | None  # NAME/VERSION
    run: str  # of Prefect
    inputs: dict[str, Any]
    thresholds: dict[str, Any]
    failures: dict[str, str]  # source -> why nothing could be taken from it

    @property
    def request(self) -> str | None:
        """The reason for which somebody asked for the retraining."""
        reason = self.inputs.get("because")
        return None if reason is None else str(reason)

    @property
    def is_answer(self) -> bool:
        """Whether this settles what becomes of the attempt. A failure does not: what broke is taken up again."""
        return self.outcome not in (End.TRAIN, End.FAILED)

    @property
    def effective_outcome(self) -> End:
        """The outcome as it counts for what follows: `failed` if a source failed."""
        return End.FAILED if self.failures else self.outcome

    def format(self) -> dict[str, str]:
        failures: dict[str, str] = {Fact.FAILED_SOURCES: _as_json(self.failures)} if self.failures else {}
        return {
            Fact.DECISION: self.outcome.value,
            Fact.ABOUT: self.version or NO_VERSION,
            Fact.INPUTS: _as_json(self.inputs),
            Fact.THRESHOLDS: _as_json(self.thresholds),
            Fact.RUN: self.run,
            **failures,
        }

    @classmethod
    def parse(cls, facts: Mapping[str, str]) -> Self | None:
        """None if these are not the facts of a retraining."""
        if Fact.DECISION not in facts:
            return None
        word, version = facts[Fact.DECISION], facts.get(Fact.ABOUT, NO_VERSION)
        if word not in list(End):
            raise Refused(f"Not an outcome of a retraining: {word!r}. Read this history with the Retune that wrote it")
        return cls(
            outcome=End(word),
            version=None if version == NO_VERSION else version,
            run=facts.get(Fact.RUN, ""),
            inputs=json.loads(facts.get(Fact.INPUTS, "{}")),
            thresholds=json.loads(facts.get(Fact.THRESHOLDS, "{}")),
            failures=json.loads(facts.get(Fact.FAILED_SOURCES, "{}")),
        )


def _as_json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False)


class EntryFacts:
    """Typed access to the facts of an entry."""

    facts: dict[str, str]

    @property
    def evidence(self) -> str | None:
        return self.facts.get(Fact.EVIDENCE)

    @property
    def seal(self) -> str | None:
        return self.facts.get(Fact.SEAL)

    @property
    def signer(self) -> str | None:
        return self.facts.get(Fact.SIGNER)

    @property
    def start(self) -> str | None:
        return self.facts.get(Fact.START)

    @property
    def how(self) -> str | None:
        return self.facts.get(Fact.HOW)

    @property
    def checked(self) -> str | None:
        return self.facts.get(Fact.CHECKED)

    @property
    def forgotten(self) -> str | None:
        return self.facts.get(Fact.FORGOTTEN)

    @property
    def golden(self) -> str | None:
        return self.facts.get(Fact.GOLDEN)

    @property
    def move(self) -> str | None:
        return self.facts.get(Fact.MOVE)

    @property
    def verdicts(self) -> str | None:
        return self.facts.get(Fact.VERDICTS)

    @property
    def retraining(self) -> RetrainingFacts | None:
        return RetrainingFacts.parse(self.facts)


def md5_fact(part: str) -> Fact:
    """The fact that holds the md5 of a part of the data: raw, train, val, test or general."""
    return Fact[part.upper()]
