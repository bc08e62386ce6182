"""The check of a data set's tokens before training: rows that would teach nothing, or not where to stop.

Renders and tokenises every row with the template and the tokenizer of training. Without torch or weights. Names rows by
their ids, never by their texts.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import pandas as pd

from retune.data import messages, row_table, text_keys
from retune.data.finding import Finding
from retune.errors import Refused
from retune.models import base_model, chat_template
from retune.models.chat_template import TokenizedExample

PERCENTILES = (5, 50, 90, 95, 99)
Render = Callable[[Any, str, str], list[TokenizedExample]]


class BaseName(Protocol):
    @property
    def name(self) -> str: ...


class Training(Protocol):
    """The parameters of section train that decide how rows become tokens."""

    @property
    def base(self) -> BaseName: ...
    @property
    def template(self) -> str: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def too_long(self) -> str: ...


class Limits(Protocol):
    @property
    def max_truncated_share(self) -> float: ...
    @property
    def examples(self) -> int: ...


@dataclass(frozen=True)
class Audit:
    findings: list[Finding]
    figures: dict[str, Any]
    lengths: dict[str, np.ndarray]  # tokens of each answer with its prompt, of the prompt, of the answer


def of_base(rows: pd.DataFrame, training: Training, limits: Limits, render: Render) -> Audit:
    """Check curated rows with the base's tokenizer and the template of params.yaml."""
    tokenizer = chat_template.load(base_model.find(training.base.name))
    chat_template.choose(tokenizer, training.template)
    return audit(rows, tokenizer, training, limits, render)


def audit(rows: pd.DataFrame, tokenizer: Any, training: Training, limits: Limits, render: Render) -> Audit:
    """Render, tokenise and check everything. `tokenizer` already has its template."""
    table = counted(rows, tokenizer, training, render)
    return Audit(findings(table, tokenizer, training, limits), figures(table, training), _lengths(table))


OF_GENERAL = ("template_fits", "supervised", "end_learned")  # the draw skips one that is too long


def of_general(examples: pd.DataFrame, training: Training, limits: Limits, render: Render) -> Audit | None:
    """The same for replay examples, with findings under names of their own; None without examples."""
    if examples.empty:
        return None
    audit_report = of_base(examples, training, limits, render)
    findings = [each for each in audit_report.findings if each.name in OF_GENERAL]
    return replace(audit_report, findings=[replace(each, name=f"general_{each.name}") for each in findings])


def counted(rows: pd.DataFrame, tokenizer: Any, training: Training, render: Render) -> pd.DataFrame:
    """One line per sequence that is trained on (a pair has two, a conversation mostly one):

    id, prompt and answer (in tokens that are supervised or not, the end among the former), ends (its last supervised
    token is the end of sequence), trained (in tokens; 0: left out), answers (how many are supervised), misfit (why the
    template does not render it; empty: it does), marks (its text contains a special token, which the tokenizer would
    not read as text).
    """
    names = [name for name in ("label", row_table.REJECTED) if name in rows]
    special = [mark for mark in tokenizer.all_special_tokens if mark]
    lines = []
    for row in rows.to_dict("records"):
        for name in names:
            if row[name] == messages.NO_ANSWER:
                continue
            marks = any(mark in words for mark in special for words in (row["text"], row[name]))
            counts = _counted(tokenizer, row["text"], row[name], training, render)
            lines += [(row["id"], *line, marks) for line in counts]
    table = pd.DataFrame(lines, columns=["id", "prompt", "answer", "ends", "trained", "answers", "misfit", "marks"])
    if len(names) > 1:
        table["trained"] *= table.groupby("id")["trained"].transform("min") > 0  # half a pair teaches nothing
    return table


def _counted(
    tokenizer: Any, text: str, answer: str, training: Training, render: Render
) -> list[tuple[int, int, bool, int, int, str]]:
    if messages.parse(text) is None:
        why = "its text holds no messages, so it was ingested for another task: use a clone per task"
        return [(0, 0, False, 0, 0, why)]
    try:
        return [_line(row, tokenizer, bool(answer.strip()), training) for row in render(tokenizer, text, answer)]
    except Refused as error:
        return [(0, 0, False, 0, 0, str(error))]


def _line(
    row: TokenizedExample, tokenizer: Any, has_words: bool, training: Training
) -> tuple[int, int, bool, int, int, str]:
    # An answer without words has at most special tokens of the template.
    supervised = sum(end - first for first, end in row.spans) if has_words else 0
    shortened_row = chat_template.shortened(row, training.max_tokens, training.too_long)
    learned = shortened_row.tokens[shortened_row.prompt :] if shortened_row else row.tokens[row.prompt :]
    ends = learned[-1:] == [tokenizer.eos_token_id]
    trained = len(shortened_row.tokens) if shortened_row else 0
    return len(row.tokens) - supervised, supervised, ends, trained, len(row.spans), ""


def findings(table: pd.DataFrame, tokenizer: Any, training: Training, limits: Limits) -> list[Finding]:
    """The findings; validation refuses the data if one fails."""
    fits = table["misfit"] == ""
    size = table["prompt"] + table["answer"]
    over = fits & (size > training.max_tokens)
    masked = tokenizer.eos_token_id == tokenizer.pad_token_id  # then a loss that leaves out padding leaves out the end

    def judged(name: str, expected: str, bad: pd.Series, why: str = "", allowed: float = 0.0) -> Finding:
        ids, count = list(dict.fromkeys(table.loc[bad, "id"])), table["id"].nunique()
        success = len(ids) <= allowed * count
        examples = [] if success else ids[: limits.examples]
        return Finding(name, expected, f"{len(ids)} of {count} rows otherwise{why}", success, examples)

    first = f": {table.loc[~fits, 'misfit'].iloc[0]}" if not fits.all() else ""
    return [
        judged("template_fits", "the template renders every row as its prompt and then its answer", ~fits, first),
        judged(
            "supervised",
            "a token to learn, besides the end of sequence, in every row",
            fits & ((table["answer"] - table["ends"]) < 1),
        ),
        judged(
            "end_learned",
            "an end of sequence to learn in every row",
            fits & (masked | ~table["ends"].astype(bool)),
            f": {tokenizer.eos_token!r} ends a sequence and pads it, so the loss leaves it out" if masked else "",
        ),
        judged(
            "truncated",
            f"at most {limits.max_truncated_share:.4g} of the rows longer than {training.max_tokens} tokens",
            over,
            _of_long(table, over),
            limits.max_truncated_share,
        ),
        Finding(
            "rows_left",
            "a row that is short enough to train on",
            f"{table.loc[table['trained'] > 0, 'id'].nunique()} rows",
            bool((table["trained"] > 0).any()),
            [],
        ),
    ]


def _of_long(table: pd.DataFrame, over: pd.Series) -> str:
    if not over.any():
        return ""
    long = table[table["id"].isin(table.loc[over, "id"])]
    out = long.loc[long["trained"] == 0, "id"].nunique()
    return f": {out} left out, {long['id'].nunique() - out} lose the beginning of a prompt (train.too_long)"


def single_answers(rows: pd.DataFrame, tested: pd.DataFrame, method: str, metric: str, limits: Limits) -> list[Finding]:
    """Of preferences with rows that have one answer, liked or not: what learns from them, and what measures them.

    tested: the test rows, where they are known; else all of them.
    """
    single = _is_single(rows)
    if not single.any():
        return []
    ids, has_pairs = list(rows.loc[single, "id"])[: limits.examples], not _is_single(tested).all()
    count = f"{int(single.sum())} of {len(rows)} rows have one"
    compares, measures = method != "kto", metric == "preferred"
    return [
        Finding(
            "answers_to_compare",
            "two answers in each row, unless train.method is kto",
            f"{count}, and train.method is {method}",
            not compares,
            ids if compares else [],
        ),
        Finding(
            "answers_to_score",
            "rows with two answers, or another promote.metric than preferred, such as perplexity of the liked answers",
            f"{count}, and promote.metric is {metric}",
            has_pairs or not measures,
            [] if has_pairs or not measures else ids,
        ),
    ]


def _is_single(rows: pd.DataFrame) -> pd.Series:
    return (rows["label"] == messages.NO_ANSWER) | (rows[row_table.REJECTED] == messages.NO_ANSWER)


def leaked(rows: pd.DataFrame, side: pd.Series, limits: Limits, allowed: int = 0) -> Finding:
    """Rows whose prompt, except for case and punctuation, is also in another split; `side` may be empty."""
    prompt_words = rows["text"].map(lambda text: messages.words(messages.parse(text) or [])).astype("str")
    sides = side.where(side != "").groupby(text_keys.near(prompt_words)).transform("nunique")
    ids = list(rows.loc[sides > 1, "id"])
    success = len(ids) <= allowed
    detail = f"{len(ids)} of {len(rows)} rows otherwise"
    expected = f"at most {allowed} rows whose prompt is also in another split"
    return Finding("prompts_apart", expected, detail, success, [] if success else ids[: limits.examples])


def figures(table: pd.DataFrame, training: Training) -> dict[str, Any]:
    """Counts of rows, unless the name says tokens."""
    fit = table[table["misfit"] == ""]
    size = fit["prompt"] + fit["answer"]
    over = size > training.max_tokens

    def rows_with(mask: pd.Series) -> int:
        return int(fit.loc[mask, "id"].nunique())

    return {
        "rows": int(table["id"].nunique()),
        "template": training.template,
        "max_tokens": training.max_tokens,
        "too_long": training.too_long,
        "tokens": {name: spread(values) for name, values in _lengths(table).items()},
        "supervised_share": spread(fit["answer"] / size.clip(lower=1), 4),
        "longer_than_max_tokens": rows_with(over),
        "left_out": rows_with(over & (fit["trained"] == 0)),
        "prompt_cut": rows_with(over & (fit["trained"] > 0)),
        "nothing_left_by_a_plain_cut": rows_with(fit["prompt"] >= training.max_tokens),
        "end_learned": rows_with(fit["ends"].astype(bool)),
        "template_mismatches": int(table.loc[table["misfit"] != "", "id"].nunique()),
        "special_tokens_in_words": int(table.loc[table["marks"].astype(bool), "id"].nunique()),
        "answers": int(fit["answers"].sum()),
        "trained_tokens": int(fit["trained"].sum()),
        "supervised_tokens": int(fit.loc[fit["trained"] > 0, "answer"].sum()),
    }


def _lengths(table: pd.DataFrame) -> dict[str, np.ndarray]:
    fit = table[table["misfit"] == ""]
    prompt, answer = (fit[name].to_numpy(dtype=np.int64) for name in ("prompt", "answer"))
    return {"whole": prompt + answer, "prompt": prompt, "answer": answer}


def spread(values: Any, digits: int = 1) -> dict[str, float]:
    """Least, mean, most and percentiles; empty without values."""
    values = np.asarray(values, dtype=np.float64)
    if not len(values):
        return {}
    summary = {"min": values.min(), "mean": values.mean(), "max": values.max()}
    summary |= {
        f"p{percent}": value for percent, value in zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True)
    }
    return {name: round(float(value), digits) for name, value in summary.items()}
