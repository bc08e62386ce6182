"""The purpose of a model, in words for people: one row per task."""

from dataclasses import dataclass, replace

OTHER_SOURCES = "The test rows come from the same sources as the training rows: other sources may score lower."


@dataclass(frozen=True)
class Purpose:
    """The purpose of a model of one task."""

    task: str  # as CycloneDX and others call it
    description: str  # with {count} and {labels}
    components: str  # besides the base
    outputs: tuple[str, ...]
    users: str
    use: str
    misuse: str
    check: str
    limits: tuple[str, ...]


GENERATION = Purpose(
    task="text generation",
    description="Writes an answer to a prompt, in the style of the completions that it learned from.",
    components="weights learned from completions",
    outputs=("text", "mean probability of its tokens, 0 to 1"),
    users="people who read and correct a draft before it is sent",
    use="For drafts that a person reads before they are sent.",
    misuse="Its texts are sent unread, decide about people, or answer prompts of another kind than its data.",
    check="It is not made for these uses. Let a person read its texts.",
    limits=(
        OTHER_SOURCES,
        "Its texts may be fluent and wrong: no score here measures truth.",
    ),
)
PURPOSES = {
    "classify": Purpose(
        task="text classification",
        description="Predicts one of {count} labels for a text: {labels}.",
        components="a classification head",
        outputs=("label", "confidence of that label, 0 to 1", "route: auto, or human where a person must read it"),
        users="people who route and triage, and can correct the model",
        use="For routing and triage, with a person who can correct it.",
        misuse="It is used for decisions about people, or for texts of another kind than its data.",
        check="It is not made for these uses. Let a person check what follows from a label.",
        limits=(
            OTHER_SOURCES,
            "The confidence is the model's own estimate; see the reliability plot before acting on it.",
        ),
    ),
    "instruct": GENERATION,
    "prefer": replace(
        GENERATION,
        description="Writes an answer to a prompt, in the style that the reviewers of its data preferred.",
        components="weights learned from completions, and then from preferences between two answers",
        limits=(
            *GENERATION.limits,
            "It has learned the taste of the reviewers, with their errors, and the score measures only that.",
        ),
    ),
}
