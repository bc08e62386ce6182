"""Clean the received rows and drop the unusable ones; every dropped row is kept with its reason.

    python -m tasks.curate data/raw data/suppressed.json data/curated models/reports/curate.json

`STEPS` is the whole story, in order. A step looks at the rows that are left and returns those to reject:
a detail (the kept twin, the labels at odds) under the row's index. Its name is the reason.

Rows that the data itself puts on the test side are the yardstick: their text stays byte for byte, and only
a missing id, text or label, a newer row with the same id, or a place on the list of suppressed rows rejects
them. Other rows give way to them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.core import example, params, suppression
from tasks.core.errors import WrongUse
from tasks.core.example import COLUMNS, SIDES, clean
from tasks.core.shell import run, write_json


def curate(
    rows: pd.DataFrame, params: params.Curate, listed: suppression.Suppression = suppression.NOTHING
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Part `rows`, oldest first, into the clean rows and the rejects, which stay as they came.

    Only of a row that is `listed` no more than id, source and side is kept: its words must not be written anew.
    """
    received = _as_received(rows)
    left, rejects = _prepared(received, listed), []
    for step in STEPS:
        detail = step(left, params)
        rejects.append(received.loc[detail.index].assign(reason=step.__name__, detail=detail.astype("str")))
        left = left.drop(detail.index)
    kept = left[list(COLUMNS)].assign(text=left["text"].where(~left["test"], received.loc[left.index, "text"]))
    rejected = pd.concat(rejects).sort_index()
    rejected.loc[rejected["reason"] == suppressed.__name__, ["text", "label", "group"]] = ""
    return kept, rejected


def _as_received(rows: pd.DataFrame) -> pd.DataFrame:
    missing = [name for name in COLUMNS if name not in rows]
    if missing:
        raise WrongUse(f"the raw rows lack {', '.join(missing)}; a row has the columns {', '.join(COLUMNS)}")
    return rows[list(COLUMNS)].fillna("").astype("str").reset_index(drop=True)


def _prepared(received: pd.DataFrame, listed: suppression.Suppression) -> pd.DataFrame:
    """The rows with clean text and label. Equal `key`: same text. `test`: the data puts it on that side.

    `listed`: its id is on the list of suppressed rows.
    """
    text, label = (received[name].map(clean).astype("str") for name in ("text", "label"))
    key = pd.factorize(example.same_text(text))[0]
    forgotten = suppression.contains(listed, received["id"])
    return received.assign(text=text, label=label, key=key, test=received["given"] == "test", listed=forgotten)


# ---- the steps -------------------------------------------------------------------------------------------


def no_id(rows: pd.DataFrame, params: params.Curate) -> pd.Series:
    return _rejected(rows["id"].str.strip() == "")


def suppressed(rows: pd.DataFrame, params: params.Curate) -> pd.Series:
    """Every state of a row that must not be learned from, whatever side it stands on."""
    return _rejected(rows["listed"])


def superseded(rows: pd.DataFrame, params: params.Curate) -> pd.Series:
    """A row arrived again under the same id: the newest is its present state."""
    return _rejected(rows["id"].duplicated(keep="last"))


def empty(rows: pd.DataFrame, params: params.Curate) -> pd.Series:
    return _rejected(rows["text"] == "")


def no_label(rows: pd.DataFrame, params: params.Curate) -> pd.Series:
    return _rejected(rows["label"] == "")


def too_short(rows: pd.DataFrame, params: params.Curate) -> pd.Series:
    length = rows.loc[~rows["test"], "text"].str.len()
    return length[length < params.min_chars]


def too_long(rows: pd.DataFrame, params: params.Curate) -> pd.Series:
    length = rows.loc[~rows["test"], "text"].str.len()
    return length[length > params.max_chars]


def copy_of_test(rows: pd.DataFrame, params: params.Curate) -> pd.Series:
    return _twins(rows[~rows["test"]], rows[rows["test"]], ["key", "label"])


def contradicts_test(rows: pd.DataFrame, params: params.Curate) -> pd.Series:
    """Runs after `copy_of_test`, so what still shares a test row's text has another label."""
    return _twins(rows[~rows["test"]], rows[rows["test"]], ["key"])


def conflicting_labels(rows: pd.DataFrame, params: params.Curate) -> pd.Series:
    """One text under two labels: nobody knows which is right, so none of them is kept."""
    pairs = rows.loc[~rows["test"], ["key", "label"]].drop_duplicates()
    pairs = pairs[pairs["key"].duplicated(keep=False)].sort_values("label")
    labels = pairs.groupby("key")["label"].agg(" | ".join).rename("detail")
    return rows[~rows["test"]].join(labels, on="key")["detail"].dropna()


def exact_copy(rows: pd.DataFrame, params: params.Curate) -> pd.Series:
    others = rows[~rows["test"]]
    return _twins(others[others["key"].duplicated()], others, ["key", "label"])


def rare_label(rows: pd.DataFrame, params: params.Curate) -> pd.Series:
    """Counts test rows too: a label that the yardstick uses is no typing error. They stay in any case."""
    count = rows.groupby("label")["id"].transform("size")[~rows["test"]]
    return count[count < params.min_label_rows]


Step = Callable[[pd.DataFrame, params.Curate], pd.Series]
STEPS: tuple[Step, ...] = (
    no_id,
    suppressed,
    superseded,
    empty,
    no_label,
    too_short,
    too_long,
    copy_of_test,
    contradicts_test,
    conflicting_labels,
    exact_copy,
    rare_label,
)


def _rejected(mask: pd.Series) -> pd.Series:
    return pd.Series("", index=mask.index[mask], dtype="str")


def _twins(rows: pd.DataFrame, kept: pd.DataFrame, by: list[str]) -> pd.Series:
    """For each of `rows` that equals a row of `kept` in the columns `by`: the id of the first such row."""
    first = kept.drop_duplicates(by).set_index(by)["id"].rename("twin")
    return rows.join(first, on=by)["twin"].dropna()


# ---- the report ------------------------------------------------------------------------------------------


def report(rows: pd.DataFrame, kept: pd.DataFrame, rejects: pd.DataFrame) -> dict[str, Any]:
    """Counts of what came, what stayed, and why the rest did not."""
    if len(kept) + len(rejects) != len(rows):
        raise AssertionError(f"{len(rows)} rows received, but {len(kept)} kept and {len(rejects)} rejected")
    reasons = rejects["reason"].value_counts()
    came, stayed = (table["source"].value_counts() for table in (rows, kept))
    given = kept["given"].value_counts()
    return {
        "received": len(rows),
        "kept": len(kept),
        "rejected": len(rejects),
        "reasons": {step.__name__: int(reasons.get(step.__name__, 0)) for step in STEPS},
        "labels": {label: int(count) for label, count in kept["label"].value_counts().sort_index().items()},
        "sources": {
            source: {"received": int(came[source]), "kept": int(stayed.get(source, 0))} for source in sorted(came.index)
        },
        "given": {side or "none": int(given.get(side, 0)) for side in (*SIDES, "")},
    }


def main(raw: Path, suppressed_json: Path, curated: Path, report_json: Path) -> None:
    rows = example.read(raw)
    kept, rejects = curate(rows, params.load().curate, suppression.read(suppressed_json))
    told = report(rows, kept, rejects)
    example.write(kept, curated / "rows.parquet")
    example.write(rejects, curated / "rejects.parquet")
    write_json(told, report_json)
    reasons = ", ".join(f"{name} {count}" for name, count in told["reasons"].items() if count)
    print(f"kept {told['kept']} of {told['received']} rows" + (f"; rejected: {reasons}" if reasons else ""))


if __name__ == "__main__":
    run(main)
