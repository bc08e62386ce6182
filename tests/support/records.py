"""Records and histories for pages and statements: a plausible one, and a stranger's worst."""

import json
import re
from dataclasses import dataclass, replace

import pytest

from tests.support.environment import ROOT

HOSTILE_TEXT = (
    "</style><script>document.title='taken'</script>\"'><img src=https://example.com/x.png onerror=alert(1)>"
    "{{7*7}} \u202eשלום עולם\u202c مرحبا \x00\ud800\n`$(touch taken)` '; DROP TABLE " + "longword" * 40
)
WELL_FORMED = re.compile(r"[0-9a-f]{32,64}(\.dir)?|\d{4}-\d\d-\d\dT.*|champion|held|accepted|base|registered|none")
STRANGERS_KEYS = ("sources", "reasons", "labels", "files", "modules", "hashes", "params", "inputs", "facts")


@pytest.fixture
def record():
    """A whole record of made-up facts that fit together: two sources, four labels, a champion that was beaten."""
    return json.loads((ROOT / "tests/support/record.json").read_text("utf-8"))


@pytest.fixture
def training_start():
    """What a record says of a training that continued from tickets/6."""
    return {
        "from": "tickets/6",
        "seal": "6" * 64,
        "record_commit": "c6" * 20,
        "fingerprint": "f6" * 32,
        "model_md5": "a6" * 16 + ".dir",
        "train_md5": "b6" * 16,
        "val_md5": "d6" * 16,
        "refit": True,
        "new_rows": 1234,
        "corrected_rows": 56,
        "old_rows": 78,
        "gone_rows": 9,
        "new_labels": ["refunds"],
        "gone_labels": ["faxes"],
    }


@dataclass(frozen=True)
class LineageFacts:
    """What the lineage page of tickets/7 is made from."""

    record: dict
    links: list
    entries: list


@pytest.fixture
def lineage_facts():
    """A record whose data, model and base were all recomputed, and a history in which version 7 follows version 6."""
    from retune.lineage.check import Check
    from retune.lineage.history import Entry

    record = json.loads((ROOT / "tests/support/record.json").read_text("utf-8"))
    hashes = {**record["pipeline"]["hashes"], **record["files"], **record["base"]["files"]}
    facts = {"Record": record["code"]["record_commit"], "Evidence": "e" * 64, "Seal": "5" * 64, "Signer": "9" * 64}
    steps = [
        (1, "tickets@v6.0.0#1", "registered", 6, "2026-10-02T08:00:00+00:00", ("data/raw is new",)),
        (2, "tickets#champion#2", "champion", 6, "2026-10-02T08:01:00+00:00", ("macro_f1 beats the base",)),
        (3, "tickets@v7.0.0#3", "registered", 7, "2026-11-24T10:15:20+00:00", tuple(record["started"]["why"])),
        (4, "tickets#champion#4", "champion", 7, "2026-11-24T10:16:01+00:00", ("macro_f1 beats the champion",)),
    ]
    chain = ["none", *(str(number) * 64 for number in (1, 2, 3))]
    entries = [
        Entry(
            number, tag, event, "tickets", version, at, "A. Tester <tester@example.com>", why,
            facts if version == 7 else {"Seal": "6" * 64}, before, str(number) * 64, facts["Record"],
        )
        for before, (number, tag, event, version, at, why) in zip(chain, steps, strict=True)
    ]  # fmt: skip
    return LineageFacts(record, [Check(name, digest, digest, True) for name, digest in hashes.items()], entries)


@pytest.fixture
def hostile_facts(lineage_facts, training_start):
    """The same, with every text and name a stranger's worst, 200 labels, 60 sources and 300 files; two links fail."""

    def worse(value, path=()):
        if isinstance(value, dict):
            fixed = not path or path[-1] not in STRANGERS_KEYS
            return {key if fixed else f"{key} {HOSTILE_TEXT}": worse(each, (*path, key)) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(worse(each, path) for each in value)
        return f"{value} {HOSTILE_TEXT}" if isinstance(value, str) and not WELL_FORMED.fullmatch(value) else value

    lineage_facts.record["training"]["start"] = training_start
    lineage_facts.record["files"] |= {f"more/{number}.bin": f"{number:064x}" for number in range(300)}
    source = lineage_facts.record["data"]["sources"]["desk"]
    lineage_facts.record["data"]["sources"] |= {f"desk {number}": source for number in range(60)}
    for side in lineage_facts.record["data"]["sides"].values():
        side["labels"] |= {f"label {number}": number for number in range(200)}
    lineage_facts.record["scores"]["candidate"]["lift"] = {"value": -3.5, "low": float("nan"), "high": 1e9, "n": 1}
    record = worse(lineage_facts.record)
    entries = [
        replace(each, **{name: worse(getattr(each, name), (name,)) for name in ("tag", "by", "why", "facts")})
        for each in lineage_facts.entries
    ]
    entries = [replace(each, model=record["name"]) for each in entries]
    links = [
        replace(link, name=worse(link.name), found=HOSTILE_TEXT if place < 2 else link.found, ok=place > 1)
        for place, link in enumerate(lineage_facts.links)
    ]
    return LineageFacts(record, links, entries)
