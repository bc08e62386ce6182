"""The curation steps that need nothing but the row itself.

A `RowStep` takes an Arrow record batch and gives back the rows that stay and what it rejects:

    def too_short(batch: pa.RecordBatch, context: Context) -> tuple[pa.RecordBatch, Rejects]: ...

So its answer does not depend on how the rows are cut into batches. A batch has the columns of the task, all of them
texts without nulls, and what `as_received` and `clean` add:

    row     the row's place among all received rows
    test    the data itself puts the row on the test side
    words   what is said before the answer, cleaned: to compare, and to measure
    signs   the characters that cleaning takes out of the text, as in `U+200B U+FEFF`
    dialogue  the same without what a system says and the tools that it offers, where anything is left
    asks    characters of what is asked: of a text its own, of messages those of the last one
    chars   characters of all `words`
    redacted  the text without personal data, also where it says nothing in the end and `text` is empty
    personal  the types of the personal data that was replaced in text and answers, a word for each value
    drop      those of them whose rows params drop
    dropped_by  of labels: who said in a review that the row be dropped
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from retune.config.classification import Curate
from retune.config.generation import GenerationCurate
from retune.data import languages, messages, row_table, slices, suppression
from retune.data.label_verdicts import Verdicts
from retune.data.pii.detection import NameFinder
from retune.data.pii.redaction import redact_row
from retune.data.row_table import SLICES, TEXT
from retune.data.suppression import Suppression
from retune.data.task_data import TaskData
from retune.errors import WrongUse


@dataclass(frozen=True)
class Context:
    """What a step may need beside the rows."""

    facts: TaskData
    config: Curate | GenerationCurate
    suppression: Suppression = suppression.NOTHING
    secret: str | None = None  # that keys the hashes of personal data
    name_finder: NameFinder | None = None
    verdicts: Verdicts = field(default_factory=dict)  # of people, on labels
    parts: tuple[int, ...] = ()  # places of the first rows of the parts that came one after the other


@dataclass(frozen=True)
class Rejects:
    """Rows that a step rejects. At most one of `details` and `twins` is there; both have one value a row."""

    rows: np.ndarray[Any, Any]  # places among all received rows, ascending
    details: pa.Array | None = None  # texts, such as a length
    twins: np.ndarray[Any, Any] | None = None  # places of the rows that stay instead; the detail is that row's id


RowStep = Callable[[pa.RecordBatch, Context], tuple[pa.RecordBatch, Rejects]]


def as_received(batch: pa.RecordBatch, start: int) -> pa.RecordBatch:
    """`batch` with its place in the stream: its first row is row number `start` of all received rows."""
    columns = {name: batch.column(name) for name in batch.schema.names}
    places = pa.array(np.arange(start, start + batch.num_rows, dtype=np.int64))
    return pa.RecordBatch.from_pydict({**columns, "row": places, "test": pc.equal(batch.column("given"), "test")})


def clean(batch: pa.RecordBatch, context: Context) -> pa.RecordBatch:
    """The batch with clean words without personal data. A prompt whose last message says nothing becomes empty.

    So does what is no more than one of `curate.missing_words`; `curate.merge_labels` gives labels their last name, and
    people's verdicts give rows another label.
    """
    missing = dict.fromkeys(context.config.missing_words, "")
    columns = {name: batch.column(name) for name in batch.schema.names}
    answers = {name: columns[name].to_pylist() for name in context.facts.answers}
    texts = columns["text"].to_pylist()
    signs = list(map(row_table.hidden, texts))
    if context.facts.text_is_messages:
        ids = columns["id"].to_pylist()
        prompts = [
            messages.cleaned(_prompt(text, name), row_table.clean_lines) for text, name in zip(texts, ids, strict=True)
        ]
        texts = [messages.dump(prompt) for prompt in prompts]
        answers = {name: list(map(row_table.clean_lines, values)) for name, values in answers.items()}
        redacted, answers, marks = _redacted(texts, answers, context)
        prompts = [
            prompt if text == before else messages.parse(text) or []
            for prompt, before, text in zip(prompts, texts, redacted, strict=True)
        ]
        questions = [messages.words(prompt[-1:]) for prompt in prompts]
        questions = [missing.get(question, question) for question in questions]
        words = [messages.words(prompt) for prompt in prompts]
        dialogue = [_dialogue(prompt) or text for prompt, text in zip(prompts, words, strict=True)]
        texts = [text if question else "" for text, question in zip(redacted, questions, strict=True)]
    else:
        redacted, _, marks = _redacted(list(map(row_table.clean, texts)), {}, context)
        texts = questions = words = dialogue = [missing.get(text, text) for text in redacted]
        answers = {name: list(map(row_table.clean, values)) for name, values in answers.items()}
    last_names = {**getattr(context.config, "merge_labels", {}), **missing}
    answers = {name: [last_names.get(word, word) for word in values] for name, values in answers.items()}
    if context.facts.has_labels:
        came, personal = batch.column("text").to_pylist(), marks["personal"]
        sides = zip(batch.column("test").to_pylist(), personal, came, texts, strict=True)
        final = [as_came if test and not types else text for test, types, as_came, text in sides]
        labels, marks["dropped_by"] = _reviewed(columns["id"].to_pylist(), final, answers["label"], context.verdicts)
        answers["label"] = [last_names.get(word, word) for word in labels]
    if SLICES in columns:
        cells, marks["personal"] = _redacted_slices(columns[SLICES].to_pylist(), marks["personal"], context)
        answers[SLICES] = _with_language(cells, dialogue, context)
    if missing:
        columns["group"] = pa.array([missing.get(name.strip(), name) for name in columns["group"].to_pylist()], TEXT)
    words_of = {"words": words, "dialogue": dialogue, "signs": signs}
    cleaned = {"text": texts, **answers, **words_of, "redacted": redacted, **marks}
    arrays = {name: pa.array(values, TEXT) for name, values in cleaned.items()}
    lengths = {"asks": _lengths(questions), "chars": _lengths(words)}
    return pa.RecordBatch.from_pydict({**columns, **arrays, **lengths})


def _dialogue(prompt: messages.Messages) -> str:
    return messages.words([message for message in prompt if message["role"] not in ("system", "tools")])


def _redacted(
    texts: list[str], answers: dict[str, list[str]], context: Context
) -> tuple[list[str], dict[str, list[str]], dict[str, list[str]]]:
    """Texts and answers without personal data, which share their placeholders in a row, and the columns that say so."""
    config = context.config.pii
    rows = [
        redact_row(row, config, context.secret, context.name_finder)
        for row in zip(texts, *answers.values(), strict=True)
    ]
    after = {name: [row.texts[place] for row in rows] for place, name in enumerate(answers, start=1)}
    personal = [" ".join(name for name, count in row.counts.items() for _ in range(count)) for row in rows]
    drop = [" ".join(row.dropped(config)) for row in rows]
    return [row.texts[0] for row in rows], after, {"personal": personal, "drop": drop}


def _reviewed(ids: list[str], texts: list[str], labels: list[str], verdicts: Verdicts) -> tuple[list[str], list[str]]:
    """The labels that people gave these rows, and who said of which that they be dropped."""
    dropped_by, after = [""] * len(ids), [*labels]
    for place in [place for place, name in enumerate(ids) if name in verdicts]:
        verdict = verdicts[ids[place]]
        if verdict.applies(texts[place], labels[place]):
            dropped_by[place] = f"{verdict.reviewer}, {verdict.at}" if verdict.drops else ""
            after[place] = verdict.after or labels[place]
    return after, dropped_by


def _redacted_slices(cells: list[str], personal: list[str], context: Context) -> tuple[list[str], list[str]]:
    """The slices of each row without personal data, and the types of all personal data that was replaced in it."""
    rows: dict[str, tuple[str, list[str]]] = {}
    for cell in dict.fromkeys(cells):
        values = slices.parse(cell)
        row = redact_row(tuple(values.values()), context.config.pii, context.secret, context.name_finder)
        types = [name for name, count in row.counts.items() for _ in range(count)]
        rows[cell] = slices.dump(dict(zip(values, row.texts, strict=True))), types
    types_of = [" ".join([*types.split(), *rows[cell][1]]) for cell, types in zip(cells, personal, strict=True)]
    return [rows[cell][0] for cell in cells], types_of


def _with_language(cells: list[str], dialogue: list[str], context: Context) -> list[str]:
    """The slices of each row with that of its language, where languages are sought. What came with one keeps it."""
    if not (sought := context.config.languages):
        return cells
    codes = languages.of_texts(dialogue, tuple(sought))
    values = ({"language": code} | slices.parse(cell) for cell, code in zip(cells, codes, strict=True))
    return [slices.dump(each) for each in values]


def _lengths(texts: list[str]) -> pa.Array:
    return pa.array(map(len, texts), pa.int64(), size=len(texts))


def _prompt(text: str, row_id: str) -> messages.Messages:
    prompt = messages.parse(text)
    if prompt is None and text.strip():
        raise WrongUse(
            f"row {row_id} of the raw rows holds no messages, so it came in under another task than that of"
            " params.yaml: use a clone of its own for each task"
        )
    return prompt or []


def no_id(batch: pa.RecordBatch, _context: Context) -> tuple[pa.RecordBatch, Rejects]:
    blank = [not name.strip() for name in batch.column("id").to_pylist()]
    return reject(batch, pa.array(blank, pa.bool_()))


def suppressed(batch: pa.RecordBatch, context: Context) -> tuple[pa.RecordBatch, Rejects]:
    """Every state of a row that must not be learned from, whatever side it stands on."""
    mask = suppression.contains(context.suppression, batch.column("id").to_pandas())
    return reject(batch, pa.array(mask.to_numpy(), pa.bool_()))


def empty(batch: pa.RecordBatch, _context: Context) -> tuple[pa.RecordBatch, Rejects]:
    return reject(batch, pc.equal(batch.column("text"), ""))


def no_label(batch: pa.RecordBatch, _context: Context) -> tuple[pa.RecordBatch, Rejects]:
    return reject(batch, pc.equal(batch.column("label"), ""))


def no_rejected(batch: pa.RecordBatch, _context: Context) -> tuple[pa.RecordBatch, Rejects]:
    return reject(batch, pc.equal(batch.column("rejected"), ""))


def no_preference(batch: pa.RecordBatch, _context: Context) -> tuple[pa.RecordBatch, Rejects]:
    """Both answers are the same, so neither is better."""
    return reject(batch, pc.equal(batch.column("label"), batch.column("rejected")))


def dropped_by_review(batch: pa.RecordBatch, _context: Context) -> tuple[pa.RecordBatch, Rejects]:
    """A person said so of this very text and label. Test rows too: that is a judgement on the yardstick itself."""
    return reject(batch, pc.not_equal(batch.column("dropped_by"), ""), "dropped_by")


def personal_data(batch: pa.RecordBatch, _context: Context) -> tuple[pa.RecordBatch, Rejects]:
    """What params drop. A test row stays, redacted."""
    drop = pc.not_equal(batch.column("drop"), "")
    return reject(batch, pc.and_not(drop, batch.column("test")), "drop")


def out_of_scope(batch: pa.RecordBatch, _context: Context) -> tuple[pa.RecordBatch, Rejects]:
    """Texts of none of the labels, on whatever side: `tasks.curate.out_of_scope` keeps them for evaluation."""
    return reject(batch, pc.equal(batch.column("label"), row_table.OTHER))


def too_short(batch: pa.RecordBatch, context: Context) -> tuple[pa.RecordBatch, Rejects]:
    short = pc.less(batch.column("asks"), context.config.min_chars)
    return reject(batch, pc.and_not(short, batch.column("test")), "asks")


def too_long(batch: pa.RecordBatch, context: Context) -> tuple[pa.RecordBatch, Rejects]:
    long = pc.greater(batch.column("chars"), context.config.max_chars)
    return reject(batch, pc.and_not(long, batch.column("test")), "chars")


def reject(batch: pa.RecordBatch, mask: pa.Array, detail: str | None = None) -> tuple[pa.RecordBatch, Rejects]:
    """The rows outside of `mask`, and those in it, with the value of the column `detail` as their detail."""
    rejected = batch.filter(mask)
    details = rejected.column(detail).cast(TEXT) if detail else None
    return batch.filter(pc.invert(mask)), Rejects(rejected.column("row").to_numpy(), details)


ROW_STEPS: dict[str, RowStep] = {
    step.__name__: step
    for step in (
        no_id,
        suppressed,
        empty,
        no_label,
        no_rejected,
        no_preference,
        dropped_by_review,
        personal_data,
        out_of_scope,
        too_short,
        too_long,
    )
}
