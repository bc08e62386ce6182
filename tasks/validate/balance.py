"""How the curated rows are spread: by label or form of the answer, source, length, language, month, kept column.

Nothing is refused for it: that a queue is rare may be how the world is.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from retune.data import languages, messages, slices
from retune.data.task_data import TaskData

LARGEST = 20  # values of a table that stand in rows of their own
SMALL = 20  # rows of a label, test rows aside, with which a model hardly learns it: some 5 of them would be tested
ODD = 0.05  # share of the answers that have a form, or texts a language, below which it is odd
RARE = 0.01  # share of the texts that a language has, below which it is rather a mistake of whoever told it
LOOKED_AT = 5_000  # rows whose language is told
UNEVEN = 10  # times the rows of the smallest label that the largest has, from which on weights help
NAMED = 10  # labels that a sentence names
LENGTHS = (50, 100, 200, 500, 1_000, 2_000, 5_000)  # characters
FORMS = {  # of an answer: the first that it has
    "JSON": re.compile(r"\A\s*[\[{].*[\]}]\s*\Z", re.DOTALL),
    "code": re.compile(r"^ {0,3}(```|~~~)", re.MULTILINE),
    "table": re.compile(r"^\|.*\|[ \t]*$", re.MULTILINE),
    "list": re.compile(r"^[ \t]*([-*+•]|\d{1,2}[.)])[ \t]", re.MULTILINE),
    "paragraphs": re.compile(r"\n[ \t]*\n"),
}
PLAIN = "plain"
GREETING = re.compile(r"(\S+ ){0,4}\S*\w[,!:，！]")  # a line of few words, such as `Hello Ms Lee,`
SIGNATURE = re.compile(r"(\S+ ){0,3}\S*\w")  # such as `The support team`
DAY = re.compile(r"\d{4}-\d{2}(-\d{2})?([T ].*)?")


@dataclass(frozen=True)
class Table:
    """How many rows have each value, the largest first; of lengths and months in their order."""

    by: str
    rows: dict[str, int]
    advice: tuple[str, ...] = ()


def of_rows(rows: pd.DataFrame, facts: TaskData) -> list[Table]:
    tables = []
    if facts.has_labels and {"label", "given"} <= {*rows}:
        tables.append(Table("label", _largest(rows["label"]), tuple(_advice(rows))))
    if "source" in rows:
        tables.append(Table("source", _largest(rows["source"])))
    if "text" in rows:
        tables.append(Table("length of the text in characters", _lengths(_spoken(rows["text"], facts))))
    if not facts.has_labels and "label" in rows:
        tables.append(Table("length of the answer in characters", _lengths(rows["label"])))
        tables += [_variety("form", rows["label"].map(_form)), _variety("frame", rows["label"].map(_frame))]
    columns = slices.columns_of(rows)
    if {"id", "text"} <= {*rows} and "language" not in columns:
        tables += _languages(rows, facts)
    for column, values in columns.items():
        present = values[values != ""]
        if len(present) and all(map(DAY.fullmatch, present.unique())):
            months = present.str[:7].value_counts().sort_index()
            tables.append(Table(f"month of {column}", {str(month): int(count) for month, count in months.items()}))
        elif not slices.names_rows(values):
            tables.append(Table(column, _largest(values)))
    return tables


def _largest(values: pd.Series) -> dict[str, int]:
    counts = values.value_counts()
    ranked = sorted(counts.index, key=lambda value: (-counts[value], value))
    table = {str(value) or "none": int(counts[value]) for value in ranked[:LARGEST]}
    rest = int(counts[ranked[LARGEST:]].sum())
    return table | ({slices.OTHERS: rest} if rest else {})


def _variety(what: str, values: pd.Series) -> Table:
    """How many answers have each form or frame, and what to do where a few differ from all others."""
    few = {name: int(count) for name, count in values.value_counts().items() if count < ODD * len(values)}
    named = ", ".join(f"{name} {count}" for name, count in few.items())
    advice = f"few answers have another {what} than most: {named}. A model learns to mix them: make them alike"
    return Table(f"{what} of the answer", _largest(values.astype("str")), (advice,) if few else ())


def _form(answer: str) -> str:
    return next((name for name, form in FORMS.items() if form.search(answer)), PLAIN)


def _frame(answer: str) -> str:
    """Whether it begins with a greeting and ends with a signature, each on a line of its own."""
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    has = {"greeting": len(lines) > 1 and bool(GREETING.fullmatch(lines[0]))}
    has["signature"] = len(lines) > 1 and bool(SIGNATURE.fullmatch(lines[-1]))
    return " and ".join(name for name, is_there in has.items() if is_there) or "no greeting, no signature"


def _languages(rows: pd.DataFrame, facts: TaskData) -> Iterator[Table]:
    """Of a sample: the languages of the texts, and whether answers are in that of their prompt."""
    sample = rows.iloc[np.unique(np.linspace(0, len(rows) - 1, LOOKED_AT).astype(np.int64))] if len(rows) else rows
    codes = _language(_spoken(sample["text"], facts))
    counts = codes[codes != ""].value_counts()
    common = {str(code): int(counts[code]) for code in counts.index if counts[code] >= RARE * len(codes)}
    several = sorted(code for code, count in common.items() if count >= ODD * len(codes))
    advice = f"texts are of several languages: curate.languages: [{', '.join(several)}] makes each of them a slice"
    of = "" if len(sample) == len(rows) else f", of {len(sample):,} rows"
    table = common | {"other or unsure": len(codes) - sum(common.values())}
    yield Table(f"language{of}", table, (advice,) if len(several) > 1 else ())
    if not facts.has_labels and "label" in rows:
        answers = _language(sample["label"])
        differ = sample.loc[(codes != answers) & codes.isin([*common]) & answers.isin([*common]), "id"]
        advice = f"answers in another language than their prompt, such as that of row {', '.join(differ.head(NAMED))}"
        table = {"that of the prompt, or unsure": len(codes) - len(differ), "another": len(differ)}
        yield Table(f"language of the answer{of}", table, (advice,) if len(differ) else ())


def _language(texts: pd.Series) -> pd.Series:
    return pd.Series(languages.of_texts(texts.fillna("")), index=texts.index, dtype="str")


def _spoken(texts: pd.Series, facts: TaskData) -> pd.Series:
    if not facts.text_is_messages:
        return texts
    return texts.map(lambda text: messages.words(messages.parse(text) or []), na_action="ignore")


def _lengths(texts: pd.Series) -> dict[str, int]:
    lengths = texts.str.len().fillna(0).to_numpy()
    counts = np.bincount(np.searchsorted(LENGTHS, lengths), minlength=len(LENGTHS) + 1)
    names = [f"up to {most:,}" for most in LENGTHS] + [f"more than {LENGTHS[-1]:,}"]
    return {name: int(count) for name, count in zip(names, counts, strict=True) if count}


def _advice(rows: pd.DataFrame) -> list[str]:
    """A sentence for what can be done of the labels."""
    counts = rows.loc[rows["given"] != "test", "label"].value_counts().sort_index()
    small, sentences = counts[counts < SMALL].sort_values(kind="stable"), []
    if len(small):
        named = ", ".join(f"{label} {count}" for label, count in list(small.items())[:NAMED])
        more = f" and {len(small) - NAMED} more" if len(small) > NAMED else ""
        sentences.append(
            f"labels with fewer than {SMALL} rows to learn from: {named}{more}. Collect more rows of them, or join each"
            " with a label that means nearly the same (curate.merge_labels)"
        )
    if len(counts) and counts.max() >= UNEVEN * counts.min():
        sentences.append(
            f"{counts.idxmax()} has {counts.max()} rows and {counts.idxmin()} {counts.min()}: with train.class_weights:"
            " balanced, rare labels count as much as frequent ones"
        )
    return sentences
