"""What a model of each task is for, in words for people: one row a task."""

from dataclasses import dataclass, replace

OTHER_SOURCES = "The test rows come from the same sources as the training rows: other sources may score lower."


@dataclass(frozen=True)
class Purpose:
    """What a model of one task is for."""

    task: str  # as CycloneDX and others call it
    description: str  # {count} and {labels} stand for its labels
    components: str  # beside the base
    outputs: tuple[str, ...]
    users: str
    use: str
    misuse: str
    check: str
    limits: tuple[str, ...]


GENERATION = Purpose(
    task="text generation",
    description="Writes an answer to a prompt, as the completions that it learned from do.",
    components="what was learned from completions",
    outputs=("text", "mean probability of its tokens, 0 to 1"),
    users="people who read a draft before it is sent, and are able to correct it",
    use="For drafts that a person reads before they are sent.",
    misuse="What it writes is sent unread, decides about people, or answers prompts of another kind than its data.",
    check="It is not meant for any of these. Let a person read what it writes.",
    limits=(
        OTHER_SOURCES,
        "What it writes may be fluent and wrong: no score here says that it is true.",
    ),
)
PURPOSES = {
    "classify": Purpose(
        task="text classification",
        description="Puts one text into one of {count} labels: {labels}.",
        components="a classification head",
        outputs=("label", "confidence of that label, 0 to 1"),
        users="people who route and triage, and are able to correct the model",
        use="For routing and triage with a person able to correct it.",
        misuse="It is used for decisions about people, or for texts of another kind than its data.",
        check="It is not meant for either. Let a person check what follows from a label.",
        limits=(
            OTHER_SOURCES,
            "The confidence is the model's own; see the reliability plot before acting on it.",
        ),
    ),
    "instruct": GENERATION,
    "prefer": replace(
        GENERATION,
        description="Writes an answer to a prompt, as one would be preferred over another by those who chose.",
        components="what was learned from completions, and then from which of two answers was preferred",
        limits=(
            *GENERATION.limits,
            "It has learned the taste of those who chose, their errors too, and the score asks for nothing else.",
        ),
    ),
}
