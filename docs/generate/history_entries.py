"""docs/reference/history-entries.md: the events of a model's history and the facts of each entry."""

import inspect
from typing import get_args

from docs.generate.markdown import code, head, table
from retune.config.types import Event
from retune.lineage import entry_message, history, retraining_log, signing

OF_A_VERSION = (
    "Record",
    "Fingerprint",
    "Evidence",
    "Seal",
    "Signer",
    "Start",
    "Raw",
    "Train",
    "Val",
    "Test",
    "General",
)
FACTS = {
    history.REGISTERED: OF_A_VERSION,
    history.CHAMPION: (*OF_A_VERSION, "How", "Checked", "Forgotten"),
    history.APPROVED: (*OF_A_VERSION, "Checked", "Forgotten", "Flow-run"),
    history.REJECTED: (*OF_A_VERSION, "Flow-run"),
    history.DECIDED: ("Record", "Decision", "About", "Inputs", "Thresholds", "Run", "Failed-sources"),
    history.REVIEWED: ("Record", "Sheet", "Verdicts"),
}
SOMETIMES = ("General", "Forgotten", "Failed-sources")
CHAIN = {
    "Entry": "Number of the entry, from 1.",
    "Event": "What happened: one of the events above.",
    "Model": "NAME/VERSION that it is about; version 0 of a decision while there is no champion.",
    "Previous": "sha256 of the entry before (of what `git cat-file tag` prints), or `none`.",
}
MEANINGS = {
    "Record": "Commit that the tag hangs on: the workspace that made the version.",
    "Fingerprint": "sha256 of everything that the model and its scores follow from.",
    "Evidence": "sha256 of `lineage.json`.",
    "Seal": "sha256 of `SHA256SUMS`, which lists every file of the version.",
    "Signer": f"sha256 of the public key of the key that signed the version, or `{signing.UNSIGNED}`.",
    "Start": "What training started from: `base`, or NAME/VERSION.",
    "Raw": "md5 of `data/raw`, as DVC has it.",
    "Train": "md5 of the training split.",
    "Val": "md5 of the validation split.",
    "Test": "md5 of the test split.",
    "General": "md5 of the replay examples, if any were learned from.",
    "How": f"How it became champion: `{history.PROMOTED}` by the gate, `{history.ROLLBACK}` or `{history.BY_HAND}`.",
    "Checked": "What a copy of the model answered, loaded in a clean process before a person made it champion.",
    "Forgotten": "Suppressed rows that it learned from, if a person took it all the same.",
    "Flow-run": "Prefect run that waited for the answer, or `none`.",
    "Decision": "",
    "About": "NAME/VERSION that the decision is about, or `no version`.",
    "Inputs": "What was looked at, as JSON.",
    "Thresholds": "What it was compared with, as JSON: section `trigger` of `params.yaml`.",
    "Run": "Prefect run of the retraining.",
    "Failed-sources": "Sources from which nothing could be fetched, with the reason, as JSON.",
    "Sheet": "Identity of the blinded sheet that people filled in.",
    "Verdicts": "sha256 of what they answered.",
}


def page() -> str:
    answer = (
        "The history of a model is a chain of annotated git tags: one an entry, each with the sha256 of the last. "
        "`retune history` lists them; `git cat-file tag TAG` prints one."
    )
    lines = head("History entries", answer, "`retune/lineage` and `docs/generate/history_entries.py`")
    lines += ["## Events", "", *table(("event", "tag", "title", "facts"), _events())]
    lines += ["A fact in brackets is there only where it applies.", "", "## Fields of the chain", ""]
    lines += table(("field", "meaning"), [(code(name), CHAIN[name]) for name in entry_message.CHAIN_FIELDS])
    decisions = ", ".join(map(code, _decisions()))
    meanings = MEANINGS | {"Decision": f"What came of a retraining: {decisions}."}
    lines += ["## Facts", "", *table(("fact", "meaning"), [(code(name), text) for name, text in meanings.items()])]
    _, _, message = inspect.cleandoc(entry_message.__doc__ or "").partition("\n\n")
    return "\n".join([*lines, "## The message of a tag", "", "```", *message.split("\n"), "```", ""])


def _events() -> list[tuple[str, str, str, str]]:
    rows = []
    for event, title in history.TITLES.items():
        tag = entry_message.EntryMessage("", 7, event, "NAME", 3, "", (), {}).tag
        facts = ", ".join(f"[{code(name)}]" if name in SOMETIMES else code(name) for name in FACTS[event])
        rows.append((code(event), code(tag), f"NAME/VERSION {title}", facts))
    return rows


def _decisions() -> list[str]:
    """The words that an entry of a retraining may hold; other events are only told to people."""
    return [word for word in vars(retraining_log).values() if word in (*get_args(Event), "nothing to do", "train")]
