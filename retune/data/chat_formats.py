"""The formats in which people keep prompts and answers, each mapped to the columns of a row.

The columns of the table tell the format. The formats are tried in this order:

    task prefer     chosen, rejected, and prompt unless they hold it         TRL; texts or lists of messages
    task instruct   messages                                                TRL, OpenAI
                    conversations, of from and value                        ShareGPT
                    prompt, completion                                      TRL; texts or lists of messages
                    instruction, output, and input if it exists             Alpaca
    both            text, label (and rejected), or the named columns

The model learns the last answer of a conversation; everything before it is the prompt. An empty prompt or answer
passes, since curate rejects such a row and keeps it. A row with a cell that is not a conversation has a fault.
"""

import difflib
import json
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from retune.data import task_data
from retune.data.messages import ROLES, Messages, dump, parse
from retune.data.readers.table import NO_TEXT, Fault, Faults, NoText, Table, word
from retune.errors import WrongUse

NO_CONVERSATION = "no conversation"  # a reason
SPEAKERS = {"human": "user", "gpt": "assistant", **{role: role for role in ROLES}}  # of ShareGPT


@dataclass(frozen=True)
class Mapped:
    """A table as rows of prompt and answer."""

    format: str  # its usual name
    columns: tuple[str, ...]  # the columns of the table that were read
    values: dict[str, list[str]]  # text, label and, for prefer, rejected; empty in a row that cannot be read
    faults: Faults  # of the rows that cannot be read


class Misread(Exception):
    """A cell is not a conversation. Says why and what to do; the caller adds the place.

    `reason` is one of few: rows are counted by it.
    """

    def __init__(self, value: Any, why: str, reason: str = NO_CONVERSATION) -> None:
        super().__init__(f"{reprlib.repr(value)} {why}")
        self.reason = reason


Read = Callable[..., tuple[Messages, tuple[str, ...]]]  # from the cells of a row to its prompt and its answers


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
    form = _of_columns(task, text, label, rejected)
    if not (text or label or rejected):
        form = next((each for each in FORMATS[task] if set(each.needs) <= set(table.names)), form)
    if missing := [name for name in form.needs if name not in table.names]:
        raise WrongUse(_unknown(table, task, missing[0], bool(text or label or rejected)))
    may = [name for name in form.may if name in table.names]
    nothing = [None] * len(table.places)
    cells = [table.column(name) if name in table.names else nothing for name in (*form.needs, *form.may)]
    faults: Faults = {}
    roles = ("text", *task_data.of(task).answers)
    columns: dict[str, list[str]] = {role: [] for role in roles}
    for row, cell in enumerate(zip(*cells, strict=True)):
        try:
            prompt, answers = _row(form, cell)
            values = (dump(prompt), *answers)
        except Misread as error:
            faults[row] = Fault(error.reason, str(error))
            values = ("",) * len(roles)
        for role, value in zip(roles, values, strict=True):
            columns[role].append(value)
    return Mapped(form.name, (*form.needs, *may), columns, faults)


def _row(form: Format, cells: Sequence[Any]) -> tuple[Messages, tuple[str, ...]]:
    prompt, answers = form.read(*cells)
    if not any(message["role"] == "user" for message in prompt):
        raise Misread(dump(prompt), "has no question: give it a message of the user before the answer")
    return prompt, answers


def _unknown(table: Table, task: str, missing: str, explicit: bool) -> str:
    has = ", ".join(table.names[:40])
    how = " ".join(f"--{role} COLUMN" for role in ("text", *task_data.of(task).answers))
    if explicit:
        near = difflib.get_close_matches(missing, table.names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{table.name} has no column {missing!r}; it has {has}{hint or '.'} Say which ones to take with {how}"
    formats = "; ".join(f"{each.name} ({', '.join(each.needs)})" for each in FORMATS[task])
    return (
        f"{table.name} has the columns {has}: they fit no format of task {task}. The formats are {formats}. "
        f"Or name your columns with {how}"
    )


def _text(value: Any) -> str:
    try:
        return word(value)
    except NoText as error:
        reason = NO_CONVERSATION if error.reason == NO_TEXT else error.reason
        raise Misread(value, f"is not a text: {error.remedy}", reason) from None


def _messages(value: Any, speaker: str = "role", words: str = "content") -> Messages:
    """A list of messages, also one that a CSV file holds as JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (json.JSONDecodeError, RecursionError):
            raise Misread(
                value, f"is not a list of messages: write [{{{speaker!r}: ..., {words!r}: ...}}, ...]"
            ) from None
    if not isinstance(value, list) or not value:
        raise Misread(value, f"is not a list of messages: write [{{{speaker!r}: ..., {words!r}: ...}}, ...]")
    return [_message(each, speaker, words) for each in value]


def _message(value: Any, speaker: str, words: str) -> dict[str, str]:
    if not isinstance(value, dict) or not {speaker, words} <= value.keys():
        raise Misread(value, f"is not a message: give it {speaker} and {words}")
    if more := [name for name, cell in value.items() if name not in (speaker, words) and cell not in (None, [], "")]:
        raise Misread(value, f"holds {more[0]!r}, which Retune cannot train on: remove it, or leave the row out")
    names = SPEAKERS if speaker == "from" else {role: role for role in ROLES}
    role = names.get(value[speaker]) if isinstance(value[speaker], str) else None
    if role is None:
        raise Misread(value[speaker], f"is not a known {speaker}: use {', '.join(names)}")
    return {"role": role, "content": _text(value[words])}


def _prompt(value: Any) -> Messages:
    """A list of messages; a plain text is a message of the user."""
    if isinstance(value, list):
        return _messages(value)
    text = _text(value)
    return parse(text) or [{"role": "user", "content": text}]


def _answer(value: Any) -> tuple[Messages, str]:
    """The answer, and the messages before it."""
    if not isinstance(value, list):
        text = _text(value)
        messages = parse(text)
        if messages is None:
            return [], text
        value = messages
    return _last(_messages(value))


def _last(messages: Messages) -> tuple[Messages, str]:
    *before, last = messages
    if last["role"] != "assistant":
        raise Misread(last, "comes last, and the model learns only what the assistant says: end with its answer")
    return before, last["content"]


def _whole(messages: Any) -> tuple[Messages, tuple[str, ...]]:
    prompt, answer = _last(_messages(messages))
    return prompt, (answer,)


def _sharegpt(conversations: Any) -> tuple[Messages, tuple[str, ...]]:
    prompt, answer = _last(_messages(conversations, "from", "value"))
    return prompt, (answer,)


def _pair(prompt: Any, completion: Any) -> tuple[Messages, tuple[str, ...]]:
    before, answer = _answer(completion)
    return [*_prompt(prompt), *before], (answer,)


def _alpaca(instruction: Any, output: Any, more: Any) -> tuple[Messages, tuple[str, ...]]:
    question = "\n\n".join(filter(str.strip, (_text(instruction), _text(more))))
    return [{"role": "user", "content": question}], (_text(output),)


def _preference(chosen: Any, rejected: Any, prompt: Any) -> tuple[Messages, tuple[str, ...]]:
    (before, better), (other, worse) = _answer(chosen), _answer(rejected)
    if before != other:
        raise Misread(rejected, "answers other messages than chosen does: both must follow the same messages")
    if prompt is None and not before:
        raise Misread(chosen, "has no prompt: give a prompt, or lists of messages that hold it")
    question = [] if prompt is None else _prompt(prompt)
    whole = before if all(message in before for message in question) else [*question, *before]
    return whole, (better, worse)


FORMATS: dict[str, tuple[Format, ...]] = {
    "instruct": (
        Format("messages", ("messages",), (), _whole),
        Format("ShareGPT", ("conversations",), (), _sharegpt),
        Format("prompt and completion", ("prompt", "completion"), (), _pair),
        Format("Alpaca", ("instruction", "output"), ("input",), _alpaca),
    ),
    "prefer": (Format("chosen and rejected", ("chosen", "rejected"), ("prompt",), _preference),),
}


def _of_columns(task: str, text: str | None, label: str | None, rejected: str | None) -> Format:
    """The named columns, or those of a row."""
    needs = (text or "text", label or "label")
    if not task_data.of(task).has_pairs:
        return Format(f"the columns {' and '.join(needs)}", needs, (), _pair)
    columns = (*needs, rejected or "rejected")
    return Format(f"the columns {', '.join(columns)}", columns, (), _named_preference)


def _named_preference(prompt: Any, chosen: Any, rejected: Any) -> tuple[Messages, tuple[str, ...]]:
    return _preference(chosen, rejected, prompt)
