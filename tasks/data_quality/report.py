"""The report on the data of a clone: it reads what curate, validate and split wrote, and the data of the champion.

What to do next is ranked by one measure, the training rows that a step would bring, mend or make worth more.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from retune.config import params
from retune.config.params import Classify, Params
from retune.data import drift, label_verdicts, messages, row_table, task_data
from retune.documents.data_report import (
    MEANINGS,
    DataReport,
    Dropped,
    Example,
    LengthBin,
    NextStep,
    Source,
    most_useful,
)
from retune.errors import Refused
from retune.lineage import record as records
from retune.registry import versions
from retune.system import dvc_store
from tasks.data_quality import curated_rows, labels, sufficiency
from tasks.data_quality.curated_rows import CURATED

REJECTS = Path("data/curated/rejects.parquet")
REPORTS = Path("models/reports")
EXAMPLES, LONGEST = 3, 160  # rejected rows of each reason that are quoted, and characters of each
BATCH = 16_384
BINS = 24
SURE = 0.9  # score of a doubtful label that is worth a person's time before all others
SHOWN = 5  # names that a sentence lists
SMALL = 50  # training rows of a label; with fewer, more of them help most
REMEDIES = {  # reason -> (title, how): rows that a person can bring back
    "conflicting_labels": (
        "Decide the label of rows that contradict each other",
        "One text stands under several labels, so none of its rows is learned from. Correct them in the source and"
        " ingest it again.",
    ),
    "suspicious_phrase": (
        "Look at the rows that look planted",
        "They are not learned from. Allow an innocent phrase in curate.poison.allow, forget what a real one came with.",
    ),
    "no_label": ("Label the rows without a label", "Add the label or answer in the source and ingest it again."),
    "empty": ("Find out why rows have no text", "Look at the export: often another column holds the text (--text)."),
    "no_rejected": ("Add the worse answers", "A preference needs two answers; the worse one is missing."),
    "contradicts_itself": (
        "Decide the preferences that people contradict",
        "The pair came both ways round, so none is learned from. Keep one in the source and ingest it again.",
    ),
    "too_long": ("Look at the texts that are too long", "Cut quoted replies in the export, or raise curate.max_chars."),
    "rare_label": (
        "Merge or collect the labels of very few rows",
        "Typing errors become the right label by curate.merge_labels; true labels need more rows.",
    ),
}


@dataclass(frozen=True)
class Earlier:
    """What the champion was made from."""

    champion: str  # NAME/VERSION
    rows: pd.DataFrame | None  # after curation; None if their bytes are gone


def of_champion(name: str) -> Earlier | None:
    """The data of the champion of a model; None without one."""
    champion = versions.champion(name)
    if not champion:
        return None
    record = records.read(versions.version_folder(champion) / records.FILE)
    table = dvc_store.table(record["data"]["curated"]["md5"], None)
    return Earlier(str(champion), None if table is None else table.to_pandas())


def of_clone(forecast: bool, prompts: Sequence[str] | None, say: Callable[[str], None]) -> DataReport:
    """The report on the clone as it stands. Raises Refused where curation has to run first.

    forecast: judge the labels too, and forecast what more rows would bring, where the task has labels.
    prompts: texts of production, to compare the rows with.
    """
    config, rows = params.load(), curated_rows.read()
    steps = [*_of_vectors(config, rows, say)] if forecast and isinstance(config, Classify) else []
    return report(config, of_champion(config.register.name), steps, prompts)


def _of_vectors(config: Classify, rows: pd.DataFrame, say: Callable[[str], None]) -> Iterator[NextStep]:
    """Labels to review, and rows to collect: what the probe forecasts. Too few rows forecast nothing."""
    vectors = curated_rows.embed(rows["text"].tolist(), config.train)
    try:
        judged = labels.examine(rows, vectors, config.train, label_verdicts.read(), say)
        forecast = sufficiency.examine(rows, vectors, config.train, say)
    except Refused as error:
        say(error.message)
        return
    doubtful = sum(each.score >= SURE for each in judged.ranked)
    how = "`retune data labels` lists them, `retune review labels export` makes a sheet for people."
    yield NextStep("Review the labels that are doubtful", doubtful, how)
    needs = [need for need in forecast.by_label if need.collect]
    if needs and forecast.gain > 0:
        worth = sum(need.gain * need.rows for need in needs) / forecast.gain  # in rows of the usual worth
        names = ", ".join(f"{need.collect} of {need.label}" for need in needs[:SHOWN])
        how = (
            f"More rows of these labels would raise their recall: {names}. `retune data sufficiency` says by how much."
        )
        yield NextStep("Collect more rows of the labels that gain most", round(worth), how)


def report(
    config: Params, earlier: Earlier | None, steps: Sequence[NextStep] = (), prompts: Sequence[str] | None = None
) -> DataReport:
    """The report on what stands in the current folder; `steps`: more of them to choose from; `prompts`: of production.

    Raises Refused where curation has not run.
    """
    facts = task_data.of(config.task)
    curated, splits = _read_json("curate"), _read_json("split")
    if not curated or not CURATED.exists():
        raise Refused("there is no curated data here yet", remedy="make it with `retune run`")
    rows = row_table.read(CURATED)
    new_rows, change = _since(earlier, rows, facts) if earlier else (None, None)
    unreadable: dict[str, Any] = curated.get("unreadable", {"rows": 0, "sources": {}})
    return DataReport(
        task=config.task,
        received=curated["received"],
        kept=curated["kept"],
        unreadable=unreadable["rows"],
        sources=tuple(
            Source(name, counts["received"], counts["kept"], unreadable["sources"].get(name, 0))
            for name, counts in curated["sources"].items()
        ),
        dropped=_dropped(curated["reasons"], facts),
        personal=curated["personal_data"]["values"],
        personal_rows=curated["personal_data"]["rows"],
        labels=_by_size(splits.get("labels", {})),
        splits=splits.get("rows", {}),
        lengths=_lengths(_in_words(rows["text"], facts)),
        warnings=tuple(each["found"] for each in _read_json("validate").get("expectations", []) if _warns(each)),
        champion=earlier.champion if earlier else None,
        drift=change,
        new_rows=new_rows,
        production=None if prompts is None else _of_production(_in_words(rows["text"], facts), prompts),
        production_rows=None if prompts is None else len(prompts),
        next_steps=most_useful([*steps, *_steps(curated, splits)]),
    )


def _of_production(texts: pd.Series, prompts: Sequence[str]) -> drift.Drift | None:
    before, now = (pd.DataFrame({"text": each, "label": "", "source": ""}, dtype="str") for each in (texts, prompts))
    return drift.compare(before, now, has_labels=False)


def _warns(finding: dict[str, Any]) -> bool:
    return bool(finding["examples"]) or not finding["success"]


def _read_json(stage: str) -> dict[str, Any]:
    path = REPORTS / f"{stage}.json"
    content: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return content


def _in_words(texts: pd.Series, facts: task_data.TaskData) -> pd.Series:
    return texts.map(lambda text: messages.words(messages.parse(text) or [])) if facts.text_is_messages else texts


def _since(earlier: Earlier, rows: pd.DataFrame, facts: task_data.TaskData) -> tuple[int, drift.Drift | None]:
    """How many rows the champion was not made from, and how they differ from those that it was made from."""
    if earlier.rows is None:
        return len(rows), None
    content = ["id", *(name for name in ("text", *facts.answers) if name in earlier.rows)]
    fresh = rows[~pd.MultiIndex.from_frame(rows[content]).isin(pd.MultiIndex.from_frame(earlier.rows[content]))]
    before, now = (table.assign(text=_in_words(table["text"], facts)) for table in (earlier.rows, fresh))
    return len(fresh), drift.compare(before, now, facts.has_labels)


def _dropped(reasons: dict[str, int], facts: task_data.TaskData) -> tuple[Dropped, ...]:
    examples = _examples(facts) if REJECTS.exists() else {}
    return tuple(
        Dropped(name, MEANINGS[name], count, tuple(examples.get(name, ())))
        for name, count in sorted(reasons.items(), key=lambda item: -item[1])
        if count
    )


def _examples(facts: task_data.TaskData) -> dict[str, list[Example]]:
    """The first rejects of each reason. Rows that must not be learned from have no text here."""
    examples = defaultdict[str, list[Example]](list)
    for batch in row_table.batches(REJECTS, ["id", "text", "reason", "detail"], BATCH):
        for row in batch.to_pylist():
            if len(examples[row["reason"]]) < EXAMPLES:
                text = messages.words(messages.parse(row["text"]) or []) if facts.text_is_messages else row["text"]
                text = " ".join(text.split())
                quote = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
                examples[row["reason"]].append(Example(row["id"], quote, row["detail"]))
    return examples


def _by_size(labels: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    return dict(sorted(labels.items(), key=lambda item: (-sum(item[1].values()), item[0])))


def _lengths(texts: pd.Series) -> tuple[LengthBin, ...]:
    """Rows by characters, in bins of equal width; the longest hundredth of the texts is in the last one."""
    lengths = texts.str.len().to_numpy()
    if not len(lengths):
        return ()
    low, high = int(lengths.min()), int(np.quantile(lengths, 0.99)) + 1
    edges = np.unique(np.linspace(low, high, BINS + 1).astype(int))
    counts, _ = np.histogram(np.minimum(lengths, edges[-1] - 1), bins=edges)
    edges[-1] = int(lengths.max()) + 1
    return tuple(LengthBin(int(a), int(b), int(n)) for a, b, n in zip(edges, edges[1:], counts, strict=False))


def _steps(curated: dict[str, Any], splits: dict[str, Any]) -> Iterator[NextStep]:
    """What a person could do, each with the rows that it concerns."""
    for reason, (title, how) in REMEDIES.items():
        yield NextStep(title, curated["reasons"].get(reason, 0), how)
    if unreadable := curated.get("unreadable"):
        reasons = ", ".join(f"{name} {count}" for name, count in unreadable["reasons"].items())
        how = f"By reason: {reasons}. They stand in data/raw/*.rejects.jsonl, each with its line."
        yield NextStep("Mend the rows that could not be read", unreadable["rows"], how)
    yield from _of_doubts(curated["doubts"], curated["labels"])
    needs = {label: SMALL - each["train"] for label, each in splits.get("labels", {}).items() if each["train"] < SMALL}
    if needs:
        largest = sorted(needs.items(), key=lambda item: -item[1])[:SHOWN]
        how = f"To reach {SMALL} training rows: {', '.join(f'{count} of {label}' for label, count in largest)}."
        yield NextStep("Collect more rows of small labels", sum(needs.values()), how)


def _of_doubts(doubts: dict[str, Any], counts: dict[str, int]) -> Iterator[NextStep]:
    if alike := doubts.get("labels_alike"):
        smaller = sum(sum(counts[each] for each in labels) - max(counts[each] for each in labels) for labels in alike)
        names = "; ".join(" and ".join(labels) for labels in alike[:SHOWN])
        how = f"{names}: curate.merge_labels makes them one."
        yield NextStep("Merge labels that differ only in how they are written", smaller, how)
    if near := doubts.get("near_texts_of_other_labels", {}).get("rows"):
        ids = "; ".join(" and ".join(each) for each in near[:SHOWN])
        title = "Check near-copies that have different labels"
        yield NextStep(title, sum(map(len, near)), f"Rows {ids}.")
