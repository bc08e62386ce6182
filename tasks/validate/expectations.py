"""What is expected of curated rows, and whether they meet it. The door to Great Expectations.

`CHECKS` holds every check by its name; `retune.data.task_data` names those of each task. A new check is one entry in
each: what is expected in words, and the class of Great Expectations with its arguments.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from retune.config.classification import Validate
from retune.config.generation import GenerationValidate
from retune.data import messages, row_table, text_keys
from retune.data.finding import Finding
from retune.data.row_table import SPLITS
from retune.data.task_data import TaskData

EXAMPLES = 5  # rows that a failed check names
MEASURES = ("text_chars", "label_rows", "near_copy", "leaked", "rejected_share")  # columns that `measure` adds
Limits = Validate | GenerationValidate


@dataclass(frozen=True)
class Check:
    expected: str  # in words
    expectation: str  # a class of Great Expectations
    arguments: dict[str, Any]


def _of_labels(limits: Limits) -> Validate:
    assert isinstance(limits, Validate), "only a task with labels has checks of labels"
    return limits


def _present(column: str, what: str) -> Callable[[Limits, TaskData], Check]:
    check = Check(f"{what} in every row", "ExpectColumnValuesToNotBeNull", {"column": column})
    return lambda *_: check


def _text_length(limits: Limits, _: TaskData) -> Check:
    low, high = limits.min_chars, limits.max_chars
    return Check(
        f"texts of {low} to {high} characters",
        "ExpectColumnValuesToBeBetween",
        {"column": "text_chars", "min_value": low, "max_value": high},
    )


def _near_copies(limits: Limits, _: TaskData) -> Check:
    share = limits.max_duplicate_share
    return Check(
        f"at most {share:.4g} of the texts repeat another but for case, signs, digits"
        " (validate.max_duplicate_share; raise it where they tell texts apart)",
        "ExpectColumnMeanToBeBetween",
        {"column": "near_copy", "max_value": share},
    )


def _rejected_share(limits: Limits, _: TaskData) -> Check:
    share = limits.max_rejected_share
    return Check(
        f"at most {share:.4g} of the received rows rejected by curate",
        "ExpectColumnMaxToBeBetween",
        {"column": "rejected_share", "max_value": share},
    )


def _leaked_rows(limits: Limits, _: TaskData) -> Check:
    return Check(
        f"at most {limits.max_leaked_rows} rows whose text, or a near-copy of it, also stands on another side",
        "ExpectColumnSumToBeBetween",
        {"column": "leaked", "max_value": limits.max_leaked_rows},
    )


def _rows_per_label(limits: Limits, _: TaskData) -> Check:
    least = _of_labels(limits).min_rows_per_label
    return Check(
        f"at least {least} rows, not given as test, for every label",
        "ExpectColumnValuesToBeBetween",
        {"column": "label_rows", "min_value": least},
    )


def _known_labels(limits: Limits, _: TaskData) -> Check | None:
    if not (labels := _of_labels(limits).labels):
        return None
    arguments = {"column": "label", "value_set": labels}
    return Check(f"no label but {', '.join(labels)}", "ExpectColumnValuesToBeInSet", arguments)


CHECKS: dict[str, Callable[[Limits, TaskData], Check | None]] = {  # None: these limits ask for nothing
    "row_count": lambda limits, _: Check(
        f"between {limits.min_rows} and {limits.max_rows} rows",
        "ExpectTableRowCountToBeBetween",
        {"min_value": limits.min_rows, "max_value": limits.max_rows},
    ),
    "columns": lambda _, facts: Check(
        f"the columns {', '.join(facts.columns)}, and no other",
        "ExpectTableColumnsToMatchOrderedList",
        {"column_list": [*facts.columns, *measures(facts)]},
    ),
    "id_present": _present("id", "an id"),
    "text_present": _present("text", "a text"),
    "label_present": _present("label", "a label"),
    "rejected_present": _present("rejected", "a worse answer"),
    "id_unique": lambda *_: Check("no id twice", "ExpectColumnValuesToBeUnique", {"column": "id"}),
    "given_sides": lambda *_: Check(
        f"given is {', '.join(SPLITS)} or empty",
        "ExpectColumnValuesToBeInSet",
        {"column": "given", "value_set": [*SPLITS, ""]},
    ),
    "label_count": lambda limits, _: Check(
        f"at least {_of_labels(limits).min_labels} labels",
        "ExpectColumnUniqueValueCountToBeBetween",
        {"column": "label", "min_value": _of_labels(limits).min_labels},
    ),
    "rows_per_label": _rows_per_label,
    "text_length": _text_length,
    "near_copies": _near_copies,
    "rejected_share": _rejected_share,
    "leaked_rows": _leaked_rows,
    "known_labels": _known_labels,
}


def suite(limits: Limits, facts: TaskData) -> dict[str, Check]:
    """The checks of a task by their names, in its order."""
    checks = {name: CHECKS[name](limits, facts) for name in facts.checks}
    return {name: check for name, check in checks.items() if check}


def measures(facts: TaskData) -> list[str]:
    """The columns that `measure` adds where all columns of the task are there."""
    return [name for name in MEASURES if name != "label_rows" or facts.has_labels]


def measure(rows: pd.DataFrame, clusters: pd.DataFrame, curated: dict[str, Any], facts: TaskData) -> pd.DataFrame:
    """The rows as checked: blanks made null, and `MEASURES` appended where the columns for them are there.

    `clusters`: of near-copies. `curated`: the report of curate. Where a model is to write, the text is measured by the
    words of its messages.
    """
    words = rows["text"] if "text" in rows else pd.Series(dtype="str")
    if facts.text_is_messages:
        words = words.map(lambda text: messages.words(messages.parse(text) or []), na_action="ignore").astype("str")
    near = text_keys.near(words)
    filled = ("id", "text", "label", row_table.REJECTED)
    blank = {name: rows[name].str.strip() == "" for name in filled if name in rows}
    frame = rows.assign(**{name: rows[name].mask(mask) for name, mask in blank.items()})
    reasons = curated.get("reasons", {})  # a row that was corrected, forgotten, or is of no label is not bad data
    excused = sum(reasons.get(reason, 0) for reason in ("superseded", "suppressed", "out_of_scope"))
    frame["rejected_share"] = (curated["rejected"] - excused) / max(curated["received"] - excused, 1)
    if "text" in rows:
        frame["text_chars"] = words.mask(frame["text"].isna()).str.len()
        frame["near_copy"] = text_keys.without_digits(near).duplicated()
    if facts.has_labels and {"label", "given"} <= set(rows):
        learnable = frame.loc[rows["given"] != "test", "label"].value_counts()
        frame["label_rows"] = frame["label"].map(learnable).fillna(0).where(frame["label"].notna())
    if {"text", "given"} <= set(rows):
        frame["leaked"] = _on_several_sides(rows["given"], near)
        cluster = row_table.clusters_of(rows.get("id", words), clusters)
        if facts.has_labels and "label" in rows:  # a near copy with another label is another text, and tells nothing
            frame["leaked"] = _on_several_sides(rows["given"], near + "\n" + rows["label"])
            frame["leaked"] |= _on_several_sides(rows["given"], text_keys.signed(words))
            cluster = cluster + "\n" + rows["label"]
        frame["leaked"] |= _on_several_sides((rows["given"] == "test").where(cluster.notna()), cluster)
    return frame[[*rows.columns, *(name for name in MEASURES if name in frame)]]


def _on_several_sides(sides: pd.Series, key: pd.Series) -> pd.Series:
    return sides.groupby(key).transform("nunique") > 1


def great_expectations() -> Any:
    """The package, whose import takes seconds."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read at import
    import great_expectations
    import great_expectations.expectations

    return great_expectations


def run(
    frame: pd.DataFrame, checks: dict[str, Check], example_columns: Sequence[str]
) -> tuple[dict[str, Any], list[Any]]:
    """What Great Expectations answers, and what it was asked. It shows the `example_columns` of rows that fail."""
    gx = great_expectations()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("curated").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    expectations = []
    for name, check in checks.items():
        expectation = getattr(gx.expectations, check.expectation)(**check.arguments)
        expectation.description, expectation.meta = check.expected, {"name": name}
        expectations.append(expectation)
    result_format = {
        "result_format": "SUMMARY",
        "partial_unexpected_count": EXAMPLES,
        "unexpected_index_column_names": [*example_columns],
    }
    answer = batch.validate(gx.ExpectationSuite("curated", expectations), result_format=result_format).to_json_dict()
    result: dict[str, Any] = json.loads(json.dumps(answer))  # its own Data Docs cannot print the numbers of numpy
    configs = [expectation.configuration.to_json_dict() for expectation in expectations]
    return result, [{"type": config["type"], "kwargs": config["kwargs"]} for config in configs]


def digest(questions: list[Any]) -> str:
    """The sha256 of what was asked."""
    return hashlib.sha256(json.dumps(questions, sort_keys=True).encode()).hexdigest()


def findings(checks: dict[str, Check], result: dict[str, Any], frame: pd.DataFrame) -> list[Finding]:
    """One finding a check, in their order; Great Expectations answers in an order of its own."""
    answers = {answer["expectation_config"]["meta"]["name"]: answer for answer in result["results"]}
    return [_finding(name, check, answers[name], frame) for name, check in checks.items()]


def broken(result: dict[str, Any]) -> bool:
    """Whether a check could not run, so that nothing is known about the data."""
    return any(_trouble(answer) for answer in result["results"])


def _finding(name: str, check: Check, answer: dict[str, Any], frame: pd.DataFrame) -> Finding:
    if trouble := _trouble(answer):
        return Finding(name, check.expected, f"the check broke: {trouble}", False, [])
    if answer["success"]:
        return Finding(name, check.expected, _observation(answer["result"]), True, [])
    column = answer["expectation_config"]["kwargs"].get("column")
    if column in frame and frame[column].dtype == bool:
        ids = [*frame.loc[frame[column], "id"].head(EXAMPLES).fillna("")]
    else:
        ids = [row["id"] or "" for row in answer["result"].get("partial_unexpected_index_list", [])]
    return Finding(name, check.expected, _observation(answer["result"]), False, ids)


def _observation(result: dict[str, Any]) -> str:
    if "observed_value" in result:
        value = result["observed_value"]
        if isinstance(value, list):
            return ", ".join(name for name in value if name not in MEASURES)
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    counts = f"{result['unexpected_count']} of {result['element_count']} rows otherwise"
    values = [value for value in result["partial_unexpected_list"] if value is not None]
    if not values:
        return counts
    labels = dict.fromkeys(row["label"] for row in result["partial_unexpected_index_list"] if "label" in row)
    texts = [f"{value:g}" if isinstance(value, float) else str(value) for value in dict.fromkeys(values)]
    return f"{counts}, such as {', '.join(texts)}" + (f" (label {', '.join(map(str, labels))})" if labels else "")


def _trouble(answer: dict[str, Any]) -> str:
    """Why a check could not run; empty if it ran. The answer is flat, or has one entry a failed measure."""
    info = answer["exception_info"]
    parts = [info] if "raised_exception" in info else list(info.values())
    return "; ".join(dict.fromkeys(part["exception_message"] for part in parts if part["raised_exception"]))
