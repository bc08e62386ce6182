"""Clean the received rows and drop the unusable ones; every dropped row is kept with its reason.

    python -m tasks.curate data/raw data/suppressed.json data/curated models/reports/curate.json

`retune.data.task_data` names the steps of each task, in order. A step looks at the rows that are left and returns those
to reject: a detail (the kept twin, the labels at odds) under the row's index. Its name is the reason.

Rows that the data itself puts on the test side are the yardstick: their text stays byte for byte, and only
a missing id, text or answer, a newer row with the same id, or a place on the list of suppressed rows rejects
them. Other rows give way to them.

Where a model is to write, lines and indents are part of what is said, so they stay; one prompt may have many answers.

General examples (`retune.data.replay`) are cleaned by the same steps, and counted apart. One that asks what any record
asks is left out: the records have their own answer, may stand on the test side, and may have had to be forgotten.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from retune.config import params
from retune.data import messages, replay, row_table, suppression, task_data
from retune.data.row_table import SPLITS, clean, clean_lines
from retune.errors import WrongUse
from retune.system.stage_io import run, write_json

Knobs = params.Curate | params.CurateWriting


def curate(
    rows: pd.DataFrame,
    params: Knobs,
    listed: suppression.Suppression = suppression.NOTHING,
    task: str = "classify",
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Part `rows`, oldest first, into the clean rows and the rejects, which stay as they came.

    Only of a row that is `listed` no more than id, source and side is kept: its words must not be written anew.
    """
    columns = [*task_data.of(task).columns]
    received = _as_received(rows, columns)
    left, rejects = _prepared(received, listed, task), []
    for step in map(STEPS.__getitem__, task_data.of(task).curation):
        detail = step(left, params)
        rejects.append(received.loc[detail.index].assign(reason=step.__name__, detail=detail.astype("str")))
        left = left.drop(detail.index)
    kept = left[columns].assign(text=left["text"].where(~left["test"], received.loc[left.index, "text"]))
    rejected = pd.concat(rejects).sort_index()
    words = [name for name in columns if name not in ("id", "source", "given")]
    rejected.loc[rejected["reason"] == suppressed.__name__, words] = ""
    return kept, rejected


def curate_general(
    examples: pd.DataFrame, records: pd.DataFrame, params: params.CurateWriting
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The clean examples, and how many were left out, by reason. `records`: all rows that were received."""
    left, others = (_clean_messages(_as_received(rows, [*row_table.COLUMNS])) for rows in (examples, records))
    same, rejected = row_table.same_text(left["said"]), {}
    asked = same.isin(set(row_table.same_text(others["said"])))
    left = left.assign(key=pd.factorize(same)[0], test=False, asked=asked)
    for step in GENERAL:
        detail = step(left, params)
        rejected[step.__name__] = len(detail)
        left = left.drop(detail.index)
    return left[[*row_table.COLUMNS]].reset_index(drop=True), rejected


def _as_received(rows: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    missing = [name for name in columns if name not in rows]
    if missing:
        raise WrongUse(f"the raw rows lack {', '.join(missing)}; a row has the columns {', '.join(columns)}")
    return rows[columns].fillna("").astype("str").reset_index(drop=True)


def _prepared(received: pd.DataFrame, listed: suppression.Suppression, task: str) -> pd.DataFrame:
    """The rows with clean words. Equal `key`: same text. `test`: the data puts it on that side.

    `asks` and `chars`: the length of what is asked and of all that is said before the answer; of a text both are its
    own. `listed`: its id is on the list of suppressed rows.
    """
    rows = _clean_messages(received) if task_data.of(task).text_is_messages else _clean(received)
    key = pd.factorize(row_table.same_text(rows.pop("said")))[0]
    forgotten = suppression.contains(listed, received["id"])
    return rows.assign(key=key, test=received["given"] == "test", listed=forgotten)


def _clean(received: pd.DataFrame) -> pd.DataFrame:
    text, label = (received[name].map(clean).astype("str") for name in ("text", "label"))
    length = text.str.len()
    return received.assign(text=text, label=label, said=text, asks=length, chars=length)


def _clean_messages(received: pd.DataFrame) -> pd.DataFrame:
    """A prompt whose last message says nothing is an empty text."""
    prompts = [messages.cleaned(_prompt(text, row), clean_lines) for text, row in received[["text", "id"]].to_numpy()]
    asked = pd.Series([prompt[-1]["content"] if prompt else "" for prompt in prompts], received.index, dtype="str")
    said = pd.Series(map(messages.words, prompts), received.index, dtype="str")
    text = pd.Series(map(messages.dump, prompts), received.index, dtype="str").mask(asked == "", "")
    answers = {name: received[name].map(clean_lines).astype("str") for name in _answers(received)}
    return received.assign(**answers, text=text, said=said, asks=asked.str.len(), chars=said.str.len())


def _prompt(text: str, row: str) -> messages.Messages:
    prompt = messages.parse(text)
    if prompt is None and text.strip():
        raise WrongUse(
            f"row {row} of the raw rows holds no messages, so it came in under another task than that of params.yaml:"
            " use a clone of its own for each task"
        )
    return prompt or []


def _answers(rows: pd.DataFrame) -> list[str]:
    return [name for name in ("label", row_table.REJECTED) if name in rows]


# ---- the steps -------------------------------------------------------------------------------------------


def no_id(rows: pd.DataFrame, params: Knobs) -> pd.Series:
    return _rejected(rows["id"].str.strip() == "")


def suppressed(rows: pd.DataFrame, params: Knobs) -> pd.Series:
    """Every state of a row that must not be learned from, whatever side it stands on."""
    return _rejected(rows["listed"])


def superseded(rows: pd.DataFrame, params: Knobs) -> pd.Series:
    """A row arrived again under the same id: the newest is its present state."""
    return _rejected(rows["id"].duplicated(keep="last"))


def empty(rows: pd.DataFrame, params: Knobs) -> pd.Series:
    return _rejected(rows["text"] == "")


def no_label(rows: pd.DataFrame, params: Knobs) -> pd.Series:
    return _rejected(rows["label"] == "")


def no_rejected(rows: pd.DataFrame, params: Knobs) -> pd.Series:
    return _rejected(rows["rejected"] == "")


def no_preference(rows: pd.DataFrame, params: Knobs) -> pd.Series:
    """Both answers are the same, so neither is better."""
    return _rejected(rows["label"] == rows["rejected"])


def too_short(rows: pd.DataFrame, params: Knobs) -> pd.Series:
    length = rows.loc[~rows["test"], "asks"]
    return length[length < params.min_chars]


def too_long(rows: pd.DataFrame, params: Knobs) -> pd.Series:
    length = rows.loc[~rows["test"], "chars"]
    return length[length > params.max_chars]


def copy_of_test(rows: pd.DataFrame, params: Knobs) -> pd.Series:
    return _twins(rows[~rows["test"]], rows[rows["test"]], ["key", *_answers(rows)])


def prompt_of_test(rows: pd.DataFrame, params: Knobs) -> pd.Series:
    """What shares a test row's prompt and is no copy of it has another answer: no contradiction, but it leaks."""
    return _twins(rows[~rows["test"]], rows[rows["test"]], ["key"])


def contradicts_test(rows: pd.DataFrame, params: Knobs) -> pd.Series:
    """Runs after `copy_of_test`, so what still shares a test row's text has another label."""
    return _twins(rows[~rows["test"]], rows[rows["test"]], ["key"])


def conflicting_labels(rows: pd.DataFrame, params: Knobs) -> pd.Series:
    """One text under two labels: nobody knows which is right, so none of them is kept."""
    pairs = rows.loc[~rows["test"], ["key", "label"]].drop_duplicates()
    pairs = pairs[pairs["key"].duplicated(keep=False)].sort_values("label")
    labels = pairs.groupby("key")["label"].agg(" | ".join).rename("detail")
    return rows[~rows["test"]].join(labels, on="key")["detail"].dropna()


def contradicts_itself(rows: pd.DataFrame, params: Knobs) -> pd.Series:
    """One pair given both ways round: nobody knows which is right, so none of them is kept."""
    others = rows[~rows["test"]]
    turned = others.rename(columns={"label": "rejected", "rejected": "label"})
    return _twins(others, turned, ["key", "label", "rejected"])


def exact_copy(rows: pd.DataFrame, params: Knobs) -> pd.Series:
    others, same = rows[~rows["test"]], ["key", *_answers(rows)]
    return _twins(others[others.duplicated(same)], others, same)


def asked_by_a_record(rows: pd.DataFrame, params: Knobs) -> pd.Series:
    return _rejected(rows["asked"])


def rare_label(rows: pd.DataFrame, params: params.Curate) -> pd.Series:
    """Counts test rows too: a label that the yardstick uses is no typing error. They stay in any case."""
    count = rows.groupby("label")["id"].transform("size")[~rows["test"]]
    return count[count < params.min_label_rows]


Step = Callable[[pd.DataFrame, Any], pd.Series]
STEPS: dict[str, Step] = {
    step.__name__: step
    for step in (
        no_id,
        suppressed,
        superseded,
        empty,
        no_label,
        no_rejected,
        no_preference,
        too_short,
        too_long,
        copy_of_test,
        prompt_of_test,
        contradicts_test,
        conflicting_labels,
        contradicts_itself,
        exact_copy,
        rare_label,
    )
}

GENERAL: tuple[Step, ...] = (empty, no_label, too_short, too_long, asked_by_a_record, exact_copy)


def _rejected(mask: pd.Series) -> pd.Series:
    return pd.Series("", index=mask.index[mask], dtype="str")


def _twins(rows: pd.DataFrame, kept: pd.DataFrame, by: list[str]) -> pd.Series:
    """For each of `rows` that equals a row of `kept` in the columns `by`: the id of the first such row."""
    first = kept.drop_duplicates(by).set_index(by)["id"].rename("twin")
    return rows.join(first, on=by)["twin"].dropna()


# ---- the report ------------------------------------------------------------------------------------------


def report(rows: pd.DataFrame, kept: pd.DataFrame, rejects: pd.DataFrame, task: str = "classify") -> dict[str, Any]:
    """Counts of what came, what stayed, and why the rest did not. Git keeps it, so it names no answer by its words."""
    if len(kept) + len(rejects) != len(rows):
        raise AssertionError(f"{len(rows)} rows received, but {len(kept)} kept and {len(rejects)} rejected")
    reasons = rejects["reason"].value_counts()
    came, stayed = (table["source"].value_counts() for table in (rows, kept))
    given = kept["given"].value_counts()
    labels = kept["label"].value_counts().sort_index() if task_data.of(task).has_labels else pd.Series(dtype="int")
    return {
        "received": len(rows),
        "kept": len(kept),
        "rejected": len(rejects),
        "reasons": {name: int(reasons.get(name, 0)) for name in task_data.of(task).curation},
        "labels": {label: int(count) for label, count in labels.items()},
        "sources": {
            source: {"received": int(came[source]), "kept": int(stayed.get(source, 0))} for source in sorted(came.index)
        },
        "given": {side or "none": int(given.get(side, 0)) for side in (*SPLITS, "")},
    }


def report_general(
    files: Sequence[replay.File], examples: pd.DataFrame, kept: pd.DataFrame, rejected: dict[str, int]
) -> dict[str, Any]:
    """Which files the general examples come from, and what became of them."""
    came, stayed = (table["source"].value_counts() for table in (examples, kept))
    return {
        "files": {
            replay.file_name(file): {
                "path": file.path,
                "sha256": file.sha256,
                "received": int(came[replay.file_name(file)]),
                "kept": int(stayed.get(replay.file_name(file), 0)),
            }
            for file in files
        },
        "reasons": rejected,
    }


def main(raw: Path, suppressed_json: Path, curated: Path, report_json: Path) -> None:
    rows, knobs = row_table.read(raw), params.load()
    files = replay.files_of(knobs)
    examples = replay.read(files)
    kept, rejects = curate(rows, knobs.curate, suppression.read(suppressed_json), knobs.task)
    told = report(rows, kept, rejects, knobs.task)
    row_table.write(kept, curated / "rows.parquet")
    row_table.write(rejects, curated / "rejects.parquet")
    if files:
        assert isinstance(knobs.curate, params.CurateAnswers)
        shown, left_out = curate_general(examples, rows, knobs.curate)
        told["general"] = report_general(files, examples, shown, left_out)
        print(f"kept {len(shown)} of {len(examples)} general examples, which are no rows")
    row_table.write(shown if files else examples, curated / "general.parquet")
    write_json(told, report_json)
    reasons = ", ".join(f"{name} {count}" for name, count in told["reasons"].items() if count)
    print(f"kept {told['kept']} of {told['received']} rows" + (f"; rejected: {reasons}" if reasons else ""))


if __name__ == "__main__":
    run(main)
