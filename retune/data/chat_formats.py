"""The formats in which people keep prompts and answers, each mapped to the columns of a row.

The columns of the table tell the format. The formats are tried in this order:

    task prefer     chosen, rejected, and prompt unless they hold it         TRL; texts, messages or Human/Assistant
                    a format of instruct, and a column of thumbs            TRL's unpaired KTO: label is true or false
    task instruct   messages, and tools if it exists                        TRL, OpenAI
                    conversations, and system and tools if they exist       ShareGPT
                    prompt, completion                                      TRL; texts or lists of messages
                    instruction, output, and input, system, history         Alpaca
    both            text, label (and rejected), or the named columns

The answer of a row is the last one of its conversation; everything before it is the prompt, whose own answers
`train.turns` lets the model learn too. An empty prompt or answer passes, since curate rejects such a row and keeps it.
A row that is no conversation has a fault, and so has an answer that people disliked under task instruct.
"""

import difflib
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from retune.data import messages, task_data, thumbs
from retune.data.answer_counts import AnswerCounts
from retune.data.chat_messages import SPEAKER_KEYS, Misread, conversation, dialogue, from_json, functions, text_of
from retune.data.messages import Messages, dump, dump_answer, parse
from retune.data.readers.table import Fault, Faults, Table
from retune.errors import WrongUse


@dataclass(frozen=True)
class Conversation:
    """A row as it was read."""

    prompt: Messages
    answers: tuple[Messages, ...]
    unlearned: int = 0  # answers of weight 0

    @property
    def earlier(self) -> int:
        """Answers before the last one."""
        return len(messages.learnable(self.prompt))


@dataclass(frozen=True)
class Mapped:
    """A table as rows of prompt and answer."""

    format: str  # its usual name
    columns: tuple[str, ...]  # the columns of the table that were read
    values: dict[str, list[str]]  # text, label and, for prefer, rejected; empty in a row that cannot be read
    faults: Faults  # of the rows that cannot be read
    counts: AnswerCounts | None = None  # where a model is to write


Read = Callable[..., Conversation]  # from the cells of a row


@dataclass(frozen=True)
class Format:
    name: str
    needs: tuple[str, ...]
    may: tuple[str, ...]  # further columns; None in place of a missing one
    read: Read


def read(
    table: Table, task: str, text: str | None = None, label: str | None = None, rejected: str | None = None
) -> Mapped:
    """The rows of a table, in the format of its columns, or from the named columns.

    Raises WrongUse if the columns fit no format. A row with a cell that is not a conversation has a fault.
    """
    named = bool(text or label or rejected)
    form = _of_columns(task, text, label, rejected)
    judged = None if rejected else thumbs.column(table, {text, label})
    if not named:
        formats = [*FORMATS[task], *(FORMATS["instruct"] if judged and task == "prefer" else ())]
        form = next((each for each in formats if set(each.needs) <= set(table.names)), form)
    if missing := [name for name in form.needs if name not in table.names]:
        raise WrongUse(_unknown(table, task, missing[0], named))
    if judged in form.needs or form in FORMATS["prefer"]:
        judged = None
    may = [name for name in form.may if name in table.names]
    nothing = [None] * len(table.places)
    cells = [table.column(name) if name in table.names else nothing for name in (*form.needs, *form.may)]
    rows: list[Conversation | Fault] = [_row(form, cell) for cell in zip(*cells, strict=True)]
    if judged:
        rows = [_judged(row, thumb, judged, task) for row, thumb in zip(rows, table.column(judged), strict=True)]
    columns = (*form.needs, *may, *([judged] if judged else []))
    return Mapped(_name(form, judged), columns, *_values(rows, task))


def _values(rows: list[Conversation | Fault], task: str) -> tuple[dict[str, list[str]], Faults, AnswerCounts]:
    blank = Conversation([], ([],) * len(task_data.of(task).answers))
    conversations = [blank if isinstance(row, Fault) else row for row in rows]
    columns = {"text": [dump(row.prompt) if row.prompt else "" for row in conversations]}
    for place, role in enumerate(task_data.of(task).answers):
        columns[role] = [_answer_text(row, place) for row in conversations]
    faults = {number: row for number, row in enumerate(rows) if isinstance(row, Fault)}
    count, earlier = len(rows) - len(faults), sum(row.earlier for row in conversations)
    unlearned = sum(row.unlearned for row in conversations)
    return columns, faults, AnswerCounts(count, count + earlier, earlier, unlearned)


def _answer_text(row: Conversation, place: int) -> str:
    if not row.prompt:
        return ""
    return dump_answer(row.answers[place]) if row.answers[place] else messages.NO_ANSWER


def _row(form: Format, cells: Sequence[Any]) -> Conversation | Fault:
    """A row, or why it is none."""
    try:
        row = form.read(*cells)
        if not any(message["role"] == "user" for message in row.prompt):
            raise Misread(dump(row.prompt), "has no question: give it a message of the user before the answer")
    except Misread as error:
        return Fault(error.reason, str(error))
    return row


def _judged(row: Conversation | Fault, thumb: Any, column: str, task: str) -> Conversation | Fault:
    """The row as people judged it: liked or disliked where preferences are learned; else liked, or none."""
    if isinstance(row, Fault):
        return row
    liked = thumbs.liked(thumb)
    if liked is None:
        remedy = "write true for an answer that people liked, false for another"
        return Fault("not judged", f"{column} is {reprlib.repr(thumb)}: {remedy}")
    if task == "prefer":
        (answer,) = row.answers
        return Conversation(row.prompt, (answer, []) if liked else ([], answer), row.unlearned)
    if not liked:
        return Fault(
            "disliked answer",
            f"{column} is {reprlib.repr(thumb)}: an answer that people disliked is not learned; task prefer with "
            "train.method: kto learns from it",
        )
    return row


def _name(form: Format, judged: str | None) -> str:
    return f"{form.name}, judged by {judged}" if judged else form.name


def _unknown(table: Table, task: str, missing: str, explicit: bool) -> str:
    has = ", ".join(table.names[:40])
    how = " ".join(f"--{role} COLUMN" for role in ("text", *task_data.of(task).answers))
    if explicit:
        near = difflib.get_close_matches(missing, table.names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{table.name} has no column {missing!r}; it has {has}{hint or '.'} Say which ones to take with {how}"
    formats = "; ".join(f"{each.name} ({', '.join(each.needs)})" for each in FORMATS[task])
    if task == "prefer":
        formats += "; prompt, completion and a judgement (prompt, completion, label)"
    return (
        f"{table.name} has the columns {has}: they fit no format of task {task}. The formats are {formats}. "
        f"Or name your columns with {how}"
    )


def _prompt(value: Any) -> Messages:
    """A list of messages or a dialogue; a plain text is a message of the user."""
    if isinstance(value, list):
        return conversation(value)
    text = text_of(value)
    prompt = parse(text) or dialogue(text) or [{"role": "user", "content": text}]
    is_open = prompt[-1] == {"role": "assistant", "content": ""}  # as a dialogue ends that waits for the answer
    return prompt[:-1] if is_open else prompt


def _said(value: Any) -> Messages:
    """An answer, and the messages before it if the cell holds them."""
    if isinstance(value, list):
        return _ended(conversation(value))
    if isinstance(value, dict) and not SPEAKER_KEYS.isdisjoint(value):
        return _ended(conversation([value]))
    text = text_of(value)
    if (stored := messages.answer(text)) and stored != [{"role": "assistant", "content": text}]:
        return stored
    turns = parse(text) or dialogue(text)
    return _ended(turns) if turns else [{"role": "assistant", "content": text}]


def _ended(turns: Messages) -> Messages:
    if turns[-1]["role"] != "assistant":
        raise Misread(turns[-1], "comes last, and the model learns only what the assistant says: end with its answer")
    return turns


def _learned(turns: Messages, before: Messages | None = None) -> Conversation:
    """The conversation up to the last answer that is learned: what follows one of weight 0 teaches nothing."""
    whole = [*(before or []), *_ended(turns)]
    unlearned = [place for place, message in enumerate(whole) if "weight" in message]
    last = max((place for place, each in enumerate(whole) if _teaches(each)), default=None)
    if last is None:
        raise Misread(dump(whole), "has answers of weight 0 alone: give one that is to be learned weight 1")
    answer = {key: value for key, value in whole[last].items() if key != "name"}
    return Conversation(whole[:last], ([answer],), len(unlearned))


def _teaches(message: messages.Message) -> bool:
    return message["role"] == "assistant" and "weight" not in message


def _whole(turns: Any, tools: Any) -> Conversation:
    return _learned(conversation(turns), functions(tools))


def _sharegpt(turns: Any, system: Any, tools: Any) -> Conversation:
    whole = conversation(turns)
    instruction = [] if whole[0]["role"] == "system" else _system(system)
    return _learned(whole, [*functions(tools), *instruction])


def _system(value: Any) -> Messages:
    text = text_of(value)
    return [{"role": "system", "content": text}] if text.strip() else []


def _pair(prompt: Any, completion: Any, tools: Any = None) -> Conversation:
    return _learned(_said(completion), [*functions(tools), *_prompt(prompt)])


def _alpaca(instruction: Any, output: Any, more: Any, system: Any, history: Any) -> Conversation:
    question = "\n\n".join(filter(str.strip, (text_of(instruction), text_of(more))))
    before = [*_system(system), *_history(history)]
    return Conversation(
        [*before, {"role": "user", "content": question}], ([{"role": "assistant", "content": text_of(output)}],)
    )


def _history(value: Any) -> Messages:
    """Alpaca's earlier turns: [[question, answer], ...]."""
    turns = from_json(value)
    if turns in (None, "", []):
        return []
    if not isinstance(turns, list) or not all(isinstance(turn, list) and len(turn) == 2 for turn in turns):
        raise Misread(value, "is not a history: write [[question, answer], ...]")
    return [
        {"role": role, "content": text_of(words)}
        for turn in turns
        for role, words in zip(("user", "assistant"), turn, strict=True)
    ]


def _preference(chosen: Any, rejected: Any, prompt: Any, tools: Any = None) -> Conversation:
    """Two ways to go on from one point: what both begin with is the prompt."""
    if messages.NO_ANSWER in (chosen, rejected):  # rows of ours, judged by thumbs
        return Conversation(_prompt(prompt), tuple(messages.answer(text_of(each)) for each in (chosen, rejected)))
    better, worse = _said(chosen), _said(rejected)
    shared = 0
    while shared < min(len(better), len(worse)) - 1 and better[shared] == worse[shared]:
        shared += 1
    before, answers = better[:shared], (better[shared:], worse[shared:])
    if any(each[0]["role"] != "assistant" for each in answers):
        raise Misread(rejected, "answers other messages than chosen does: both must follow the same messages")
    if prompt is None and not before:
        raise Misread(chosen, "has no prompt: give a prompt, or lists of messages that hold it")
    question = [] if prompt is None else _prompt(prompt)
    whole = before if all(message in before for message in question) else [*question, *before]
    return Conversation([*functions(tools), *whole], answers)


def _sharegpt_preference(turns: Any, chosen: Any, rejected: Any) -> Conversation:
    return _preference(chosen, rejected, conversation(turns))


OPENAI_PAIR = ("input", "preferred_output", "non_preferred_output")


def _openai_preference(request: Any, chosen: Any, rejected: Any) -> Conversation:
    if not isinstance(request, dict):
        raise Misread(request, 'is not an input: write {"messages": [...]}')
    return _preference(chosen, rejected, conversation(request.get("messages")), request.get("tools"))


FORMATS: dict[str, tuple[Format, ...]] = {
    "instruct": (
        Format("messages", ("messages",), ("tools",), _whole),
        Format("ShareGPT", ("conversations",), ("system", "tools"), _sharegpt),
        Format("prompt and completion", ("prompt", "completion"), ("tools",), _pair),
        Format("Alpaca", ("instruction", "output"), ("input", "system", "history"), _alpaca),
    ),
    "prefer": (
        Format("ShareGPT, chosen and rejected", ("conversations", "chosen", "rejected"), (), _sharegpt_preference),
        Format("chosen and rejected", ("chosen", "rejected"), ("prompt", "tools"), _preference),
        Format("preferred and non-preferred output", OPENAI_PAIR, (), _openai_preference),
    ),
}


def _of_columns(task: str, text: str | None, label: str | None, rejected: str | None) -> Format:
    """The named columns, or those of a row."""
    needs = (text or "text", label or "label")
    if not task_data.of(task).has_pairs:
        return Format(f"the columns {' and '.join(needs)}", needs, (), _pair)
    columns = (*needs, rejected or "rejected")
    return Format(f"the columns {', '.join(columns)}", columns, (), _named_preference)


def _named_preference(prompt: Any, chosen: Any, rejected: Any) -> Conversation:
    return _preference(chosen, rejected, prompt)
