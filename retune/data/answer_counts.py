"""How many answers conversations hold, and which of them `train.turns` has a model learn."""

from collections.abc import Iterable
from dataclasses import dataclass

from retune.data import messages


@dataclass(frozen=True)
class AnswerCounts:
    conversations: int
    answers: int
    earlier: int  # of them, those before the last answer of a conversation
    unlearned: int  # beside them, those of weight 0: context only


def of_rows(texts: Iterable[str]) -> AnswerCounts:
    """Of the prompts of rows, each of which has an answer beside it."""
    prompts = [messages.parse(text) or [] for text in texts]
    earlier = sum(len(messages.learnable(prompt)) for prompt in prompts)
    unlearned = sum("weight" in message for prompt in prompts for message in prompt)
    return AnswerCounts(len(prompts), len(prompts) + earlier, earlier, unlearned)


def sentences(counts: AnswerCounts, turns: str) -> list[str]:
    """What becomes of the answers under `train.turns`; nothing where each conversation has one."""
    lines = []
    if counts.earlier:
        earlier = "answer" if counts.earlier == 1 else "answers"
        fate = f"each is learned, the {counts.earlier} earlier {earlier} too (train.turns: all)"
        if turns == "last":
            fate = f"{counts.earlier} {_are(counts.earlier)} context only under train.turns: last"
        conversations = "conversation" if counts.conversations == 1 else "conversations"
        lines.append(f"{counts.answers} answers in {counts.conversations} {conversations}; {fate}")
    if counts.unlearned:
        answers = "answer has" if counts.unlearned == 1 else "answers have"
        lines.append(f"{counts.unlearned} {answers} weight 0: context only, never learned")
    return lines


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
