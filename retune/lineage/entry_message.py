"""The text of a history entry: the name and the message of its tag, parsed and formatted beside each other.

classifier/3 became champion            title

- beats the base by 0.02                why, a line for each reason

Entry: 7                                the fields that the chain needs, then the facts
Event: champion
Model: classifier/3
Previous: 5d41...                       sha256 of the entry before, or `none`
Record: 8f1e...
"""

import re
from dataclasses import dataclass
from typing import Self

REGISTERED = "registered"
FIRST = "none"  # `Previous` of the first entry
TAG = re.compile(
    r"^(?P<name>[\w/-]+)(@v(?P<version>\d+)\.0\.0|#(?P<event>champion|approved|rejected|decided|reviewed|rollout))#(?P<number>\d+)$"
)
FIELD = re.compile(r"^(?P<key>[A-Z][A-Za-z-]*): (?P<value>.*)$")
CHAIN_FIELDS = ("Entry", "Event", "Model", "Previous")


@dataclass(frozen=True)
class EntryMessage:
    """What the tag of an entry says. Reasons and values of facts are single lines."""

    title: str
    number: int
    event: str
    model: str
    version: int
    previous: str
    why: tuple[str, ...]
    facts: dict[str, str]

    @property
    def tag(self) -> str:
        if self.event == REGISTERED:
            return f"{self.model}@v{self.version}.0.0#{self.number}"
        return f"{self.model}#{self.event}#{self.number}"

    def format(self) -> str:
        fields = {
            "Entry": str(self.number),
            "Event": self.event,
            "Model": f"{self.model}/{self.version}",
            "Previous": self.previous,
            **self.facts,
        }
        reasons = "\n".join(f"- {one_line(reason)}" for reason in self.why)
        lines = "\n".join(f"{key}: {one_line(value)}" for key, value in fields.items())
        return "\n\n".join(part for part in (self.title, reasons, lines) if part) + "\n"

    @classmethod
    def parse(cls, tag: str, message: str) -> Self:
        """Raises ValueError with the reason if this is not the message of an entry of that tag."""
        name = TAG.match(tag)
        if not name:
            raise ValueError("is no entry of Retune: its name or kind is another")
        text = message.partition("\n-----BEGIN ")[0]  # a signature of the user's key, if git makes one
        paragraphs = text.rstrip("\n").split("\n\n")
        lines = [FIELD.match(line) for line in paragraphs[-1].split("\n")]
        fields = {line["key"]: line["value"] for line in lines if line}
        if not all(lines):
            raise ValueError("its message does not end in the fields of an entry")
        model, _, version = fields.get("Model", "").rpartition("/")
        event = name["event"] or REGISTERED
        agree = {
            "Model": model == name["name"] and version.isdigit() and name["version"] in (None, version),
            "Entry": fields.get("Entry") == name["number"],
            "Event": fields.get("Event") == event,
            "Previous": "Previous" in fields,
        }
        if wrong := [field for field, equal in agree.items() if not equal]:
            raise ValueError(f"its name and its message disagree: {', '.join(wrong)}")
        return cls(
            title=paragraphs[0],
            number=int(name["number"]),
            event=event,
            model=model,
            version=int(version),
            previous=fields["Previous"],
            why=tuple(line.removeprefix("- ") for line in paragraphs[1].split("\n")) if len(paragraphs) > 2 else (),
            facts={key: value for key, value in fields.items() if key not in CHAIN_FIELDS},
        )


def one_line(text: str) -> str:
    return " ".join(text.split())


def is_fact_name(name: str) -> bool:
    return name not in CHAIN_FIELDS and FIELD.match(f"{name}: ") is not None
