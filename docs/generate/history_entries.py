"""docs/reference/history-entries.md: the events of a model's history and the facts of each entry."""

import inspect

from docs.generate.markdown import code, head, table
from retune.lineage import entry_message, history
from retune.lineage.entry_facts import End, Fact

OF_A_VERSION = (Fact.RECORD, Fact.FINGERPRINT, Fact.EVIDENCE, Fact.SEAL, Fact.SIGNER, Fact.START)
OF_ITS_DATA = (Fact.RAW, Fact.TRAIN, Fact.VAL, Fact.TEST, Fact.GENERAL)
OF_A_RETRAINING = (Fact.DECISION, Fact.ABOUT, Fact.INPUTS, Fact.THRESHOLDS, Fact.RUN, Fact.FAILED_SOURCES)
OF_A_ROLLOUT = (Fact.ROLLOUT, Fact.MOVE, Fact.STEP, Fact.RIVAL, Fact.SALT, Fact.FIGURES)
FACTS = {
    history.REGISTERED: (*OF_A_VERSION, *OF_ITS_DATA),
    history.CHAMPION: (*OF_A_VERSION, *OF_ITS_DATA, Fact.HOW, Fact.CHECKED, Fact.FORGOTTEN, Fact.GOLDEN),
    history.APPROVED: (*OF_A_VERSION, *OF_ITS_DATA, Fact.CHECKED, Fact.FORGOTTEN, Fact.GOLDEN, Fact.FLOW_RUN),
    history.REJECTED: (*OF_A_VERSION, *OF_ITS_DATA, Fact.FLOW_RUN),
    history.REVIEWED: (Fact.RECORD, Fact.SHEET, Fact.VERDICTS),
    history.ROLLOUT: (Fact.RECORD, *OF_A_ROLLOUT),
    history.DECIDED: (Fact.RECORD, *OF_A_RETRAINING),
}
CHAIN = {
    "Entry": "number of the entry, from 1",
    "Event": "what happened: one of the events above",
    "Model": "NAME/VERSION that it is about; version 0 of a decision while there is no champion",
    "Previous": f"sha256 of the entry before (of what `git cat-file tag` prints), or `{entry_message.FIRST}`",
}


def page() -> str:
    answer = (
        "The history of a model is a chain of annotated git tags: one an entry, each with the sha256 of the last. "
        "`retune history` lists them; `git cat-file tag TAG` prints one."
    )
    lines = head("History entries", answer, "`retune/lineage` and `docs/generate/history_entries.py`")
    lines += ["## Events", "", *table(("event", "tag", "title", "facts"), _events())]
    lines += ["## Fields of the chain", "", "Every entry has them.", ""]
    lines += table(("field", "meaning"), [(code(name), CHAIN[name]) for name in entry_message.CHAIN_FIELDS])
    lines += ["## Facts", "", "An entry holds those of its event that apply.", ""]
    lines += table(("fact", "events", "meaning"), [(code(fact), _events_with(fact), fact.about) for fact in Fact])
    lines += ["## Outcomes of a retraining", "", f"The values of {code(Fact.DECISION)}.", ""]
    lines += [f"- {code(end)}" for end in End]
    _, _, message = inspect.cleandoc(entry_message.__doc__ or "").partition("\n\n")
    return "\n".join([*lines, "", "## The message of a tag", "", "```", *message.split("\n"), "```", ""])


def _events() -> list[tuple[str, str, str, str]]:
    rows = []
    for event, title in history.TITLES.items():
        tag = entry_message.EntryMessage("", 7, event, "NAME", 3, "", (), {}).tag
        rows.append((code(event), code(tag), f"NAME/VERSION {title}", ", ".join(map(code, FACTS[event]))))
    return rows


def _events_with(fact: Fact) -> str:
    """Raises ValueError for a fact that no event of this page has."""
    if events := [event for event, facts in FACTS.items() if fact in facts]:
        return ", ".join(events)
    raise ValueError(f"{__file__} gives the fact {fact} to no event: add it to FACTS")
