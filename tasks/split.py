"""Give each row a side, train, val or test, that it keeps for good.

    python -m tasks.split data/curated/rows.parquet data/curated/clusters.parquet data/splits models/reports/split.json

Rows that must not be parted (one group; a row without a group stands alone) are hashed to one place on
the line from 0 to 1, and the line has three stretches:

    0 ── test_share ──┬──────────── train ────────────┬── val_share ── 1

    no given side     test               train               val
    given train       train              train               val        never test
    given val, test   as given

Nothing but the group's own name and given side counts, so rows that arrive later move no one. The two shares
start at opposite ends, so a changed share moves rows between that side and train only.

Where a model is to write, rows without a group that share a prompt must not be parted either: one prompt may have many
answers, and a prompt that was learned from tells nothing when it is tested. Nor may a conversation be parted from one
that begins with all of it, as where an export has a row for each turn: who learns the longer one learns the other. They
take the place of the shortest. So what moves a row is a shorter conversation that arrives later.

Near-copies must not be parted: curate names their clusters. What they hold together, also by the groups of their rows,
takes the place of the row that arrived first. So rows move where a later row, near to both, joins two of these wholes
(the younger moves), where the first row of a cluster is corrected or forgotten, and where a whole grows over
`split.max_group_share`: then groups stay whole, and `apart` names the near-copies that stand on both sides.
"""

import hashlib
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import pandas as pd

from retune.config import params
from retune.config.classification import Split
from retune.config.common import SplitShares
from retune.data import messages, row_table, task_data, text_keys, values
from retune.data.row_table import SPLITS
from retune.errors import Refused, WrongUse
from retune.system.stage_io import heartbeat, run, write_json

Config = Split | SplitShares
LISTED = 100  # rows that the report names
STRICTEST = ("test", "val", "train")  # a group of several given sides goes here first, until it is refused


@dataclass(frozen=True)
class Units:
    """The name of what stays on one side, of each row."""

    solo: pd.Series  # by its own group, prompt or id
    joint: pd.Series  # by that of the conversation with which it begins, if there is one
    whole: pd.Series  # by that of the first of all rows that hang together by near-copies

    @property
    def begun(self) -> pd.Series:
        """Whether a row begins with all of another conversation."""
        return self.solo != self.joint


def split(rows: pd.DataFrame, clusters: pd.DataFrame, split_config: Config, task: str) -> dict[str, pd.DataFrame]:
    """The rows of train, val and test, each sorted by id. `clusters`: as curate writes them, by arrival."""
    return _split(rows, units(rows, clusters, split_config, task), split_config, task)


def _split(rows: pd.DataFrame, units: Units, split_config: Config, task: str) -> dict[str, pd.DataFrame]:
    unit, preassigned = units.whole, _preassigned(units.solo, rows["given"])
    for wider in (units.joint, units.whole):
        preassigned = preassigned.where(preassigned != "", _preassigned(wider, rows["given"]))
    place = unit.map({name: _place(name, split_config.seed) for name in unit.unique()})
    side = preassigned.where(preassigned.isin(["val", "test"]), "train")
    side = side.mask((preassigned == "") & (place < split_config.test_share), "test")
    side = side.mask(preassigned.isin(["", "train"]) & (place >= 1 - split_config.val_share), "val")
    ordered = rows[list(task_data.of(task, rows.columns).columns)].sort_values("id", kind="stable")
    return {name: ordered[side[ordered.index] == name].reset_index(drop=True) for name in SPLITS}


def units(rows: pd.DataFrame, clusters: pd.DataFrame, split_config: Config, task: str) -> Units:
    """The units of the rows."""
    solo, joint = _own_units(rows, task)
    return Units(solo, joint, _wholes(rows, joint, clusters, split_config.max_group_share))


def _own_units(rows: pd.DataFrame, task: str) -> tuple[pd.Series, pd.Series]:
    """Those of rows and conversations; customer 12 is not row 12. What has a group joins no other conversation."""
    groups, is_grouped = "group:" + rows["group"], rows["group"] != ""
    if task_data.of(task).split_unit != "prompt":
        solo = groups.where(is_grouped, "row:" + rows["id"])
        return solo, solo
    prompts = [messages.parse(text) or [] for text in rows["text"]]
    words = pd.Series(map(messages.words, prompts), rows.index, "str")
    solo = groups.where(is_grouped, "prompt:" + _place_key(words))
    return solo, solo.where(is_grouped, _joined(rows, solo, prompts, task))


def _wholes(rows: pd.DataFrame, unit: pd.Series, clusters: pd.DataFrame, max_share: float) -> pd.Series:
    """The unit that arrived first of those that near-copies join; where that is too many rows, groups stay apart."""
    unit_of = dict(zip(rows["id"], unit, strict=True))
    first: dict[str, str] = {}  # unit -> one that arrived before and hangs together with it
    rank: dict[str, int] = {}
    for row in clusters["id"]:
        rank.setdefault(unit_of[row], len(rank))

    def root(name: str) -> str:
        while first.get(name, name) != name:
            first[name] = name = first.get(first[name], first[name])
        return name

    for row, head in zip(clusters["id"], clusters["cluster"], strict=True):
        older, younger = sorted((root(unit_of[row]), root(unit_of[head])), key=rank.__getitem__)
        first[younger] = older
    whole = unit.map({name: root(name) for name in unit.unique()})
    movable = whole[~rows["given"].isin(["val", "test"])].value_counts()
    is_large = whole.isin(movable[movable > max_share * len(rows)].index)
    heads = row_table.clusters_of(rows["id"], clusters)
    by_cluster = heads.map(unit_of).where(heads.notna() & (rows["group"] == ""), unit)
    return whole.where(~is_large, by_cluster)


def _joined(rows: pd.DataFrame, solo: pd.Series, prompts: list[messages.Messages], task: str) -> pd.Series:
    """The unit of the shortest conversation with all of which a prompt begins; its own one if there is none."""
    if max(map(len, prompts), default=0) < 3:  # none begins with a question and its answer
        return solo
    starts = _prefixes(prompts, [b""] * len(prompts))
    ends = [prefixes[-1] if prefixes else b"" for prefixes in starts]
    unit_of: dict[bytes, str] = {}  # whole conversation -> unit
    for name in task_data.of(task).answers:
        for whole, unit in zip(_prefixes(list(map(messages.answer, rows[name])), ends), solo, strict=True):
            if whole:
                unit_of[whole[-1]] = min(unit, unit_of.get(whole[-1], unit))
    joint = [
        next((unit_of[prefix] for prefix in prefixes if prefix in unit_of), unit)
        for prefixes, unit in zip(starts, solo, strict=True)
    ]
    return pd.Series(joint, solo.index, "str").groupby(solo).transform("min")


def _prefixes(conversations: list[messages.Messages], before: list[bytes]) -> list[list[bytes]]:
    """Of each conversation a hash of its first message, of its first two, and so on, each with what comes before."""
    words = pd.Series([messages.words([message]) for each in conversations for message in each], dtype="str")
    keys = iter(_place_key(words))
    return [
        list(accumulate((next(keys).encode() for _ in each), _hash, initial=start))[1:]
        for each, start in zip(conversations, before, strict=True)
    ]


def _hash(before: bytes, key: bytes) -> bytes:
    return hashlib.blake2b(before + key, digest_size=16).digest()


def continuations(rows: pd.DataFrame, units: Units, sides: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """How many rows begin with another conversation, which of them stand apart from it, and what begins the most.

    The data itself puts those on another side that stand apart.
    """
    side = rows["id"].map({row: name for name, each in sides.items() for row in each["id"]})
    is_apart = units.begun & (side != units.joint.map(side[~units.begun].groupby(units.solo).min()))
    report: dict[str, Any] = {"rows": int(units.begun.sum()), "apart": sorted(rows.loc[is_apart, "id"])}
    if report["rows"]:
        largest, count = next(iter(units.joint[~units.joint.str.startswith("group:")].value_counts().items()))
        report["most"] = {"id": min(rows.loc[units.solo == largest, "id"]), "rows": int(count)}
    return report


def check_continuations(report: dict[str, Any], rows: int, split_config: Config) -> list[str]:
    """What is to be said of them. Raises Refused where one conversation begins too many rows."""
    if not report["rows"]:
        return []
    name, count = report["most"]["id"], report["most"]["rows"]
    if count > split_config.max_group_share * rows:
        raise Refused(
            f"{count} of {rows} rows ({count / rows:.0%}) are or begin with the conversation of row {name}, and would"
            " fall on one side as a whole: leave that row out, or raise split.max_group_share"
            f" ({split_config.max_group_share:g})"
        )
    sentences = [f"{report['rows']} rows begin with all of another conversation: they stand on its side"]
    if apart := report["apart"]:
        sentences.append(
            f"warning: but {len(apart)} do not, as the data itself puts them on another side, such as"
            f" {', '.join(apart[:5])}: what is tested may be learned there. Give both one side"
        )
    return sentences


def near_copies(
    rows: pd.DataFrame, units: Units, clusters: pd.DataFrame, sides: dict[str, pd.DataFrame], task: str
) -> dict[str, Any]:
    """How many rows are near-copies, the most without a group that are on one side, and those of test rows elsewhere.

    Where there are labels, one of another label tells the test nothing.
    """
    cluster = row_table.clusters_of(rows["id"], clusters)
    side = rows["id"].map({row: name for name, each in sides.items() for row in each["id"]})
    key = cluster + "\n" + rows["label"] if task_data.of(task).has_labels else cluster
    is_apart = (side != "test") & key.isin(key[(side == "test") & key.notna()])
    alone = units.whole[cluster.notna() & (rows["group"] == "") & ~rows["given"].isin(["val", "test"])]
    most = next(((str(name), int(count)) for name, count in alone.value_counts().items()), None)
    return {
        "rows": len(clusters),
        "clusters": int(clusters["cluster"].nunique()),
        "most": most and {"id": min(rows.loc[alone.index[alone == most[0]], "id"]), "rows": most[1]},
        "apart": {"rows": int(is_apart.sum()), "ids": sorted(rows.loc[is_apart, "id"])[:LISTED]},
    }


def check_near_copies(report: dict[str, Any], rows: int, split_config: Config) -> list[str]:
    """What is to be said of them. Raises Refused where too many would fall on one side."""
    remedy = (
        "keep one of each (curate.near_copies.keep), raise curate.near_copies.similarity, or raise"
        f" split.max_group_share ({split_config.max_group_share:g})"
    )
    if (most := report["most"]) and most["rows"] > split_config.max_group_share * rows:
        raise Refused(
            f"{most['rows']} of {rows} rows ({most['rows'] / rows:.0%}) are near-copies of row {most['id']} or of each"
            f" other, and would fall on one side as a whole: {remedy}"
        )
    if not (apart := report["apart"])["rows"]:
        return []
    return [
        f"warning: {apart['rows']} rows are learned from whose near-copies are tested, such as"
        f" {', '.join(apart['ids'][:5])}: groups and near-copies hold too many rows together for one side, or the data"
        f" itself parts them. The scores will flatter: {remedy}"
    ]


def _place_key(words: pd.Series) -> pd.Series:
    """Coarser than `near`: without the combining marks that keys once lacked, so that rows keep their side for good."""
    keys = text_keys.near(words)
    letters = keys.str.replace(r"[\W_]+", " ", regex=True).str.strip()
    return letters.where(letters != "", keys)


def _place(unit: str, seed: int) -> float:
    """A number in [0, 1) that looks random and is the same on every machine, for good."""
    return int(hashlib.sha256(f"{seed}:{unit}".encode()).hexdigest()[:13], 16) / 16**13  # 52 bits: exact


def _preassigned(unit: pd.Series, preassigned_split: pd.Series) -> pd.Series:
    """For each row, the side on which the data itself puts any row of its unit."""
    unknown = sorted(set(preassigned_split) - {*SPLITS, ""})
    if unknown:
        raise WrongUse(f"given is {unknown[0]!r} in a row; it may be {', '.join(SPLITS)} or empty")
    sides = {name: side for side in reversed(STRICTEST) for name in unit[preassigned_split == side].unique()}
    return pd.Series([sides.get(name, "") for name in unit], index=unit.index, dtype="str")


def divided_groups(rows: pd.DataFrame) -> dict[str, dict[str, str]]:
    """The groups that the data itself puts on several sides, each with one example row id a side."""
    groups = rows[(rows["given"] != "") & (rows["group"] != "")].drop_duplicates(["group", "given"])
    groups = groups[groups["group"].duplicated(keep=False)].sort_values(["group", "given"])
    return {str(name): dict(zip(group["given"], group["id"], strict=True)) for name, group in groups.groupby("group")}


def large_groups(rows: pd.DataFrame, split_config: Config) -> dict[str, int]:
    """Rows of each group that takes a side as a whole and may not: it holds too many, or looks like a missing value."""
    unassigned = rows[(rows["group"] != "") & ~rows["given"].isin(["val", "test"])]
    counts = unassigned["group"].value_counts()
    counts = counts[~counts.index.isin(split_config.large_groups)]
    most = split_config.max_group_share * len(rows)
    return {str(name): int(size) for name, size in counts.items() if size > 1 and (size > most or _nobody(str(name)))}


def _nobody(group: str) -> str:
    """What a message adds to the name of a group that looks like a missing value."""
    return " and looks like a missing value" if values.is_for_nobody(group) else ""


def report(rows: pd.DataFrame, sides: dict[str, pd.DataFrame], task: str) -> dict[str, Any]:
    """Counts for each side. Git keeps it, so it names no answer by its words."""
    counts = {name: side["label"].value_counts() for name, side in sides.items()}
    labels = {
        label: {name: int(count.get(label, 0)) for name, count in counts.items()}
        for label in sorted(rows["label"].unique() if task_data.of(task).has_labels else [])
    }
    return {
        "rows": {name: len(side) for name, side in sides.items()},
        "labels": labels,
        "missing": {name: [label for label, count in labels.items() if not count[name]] for name in sides},
        "groups": {name: int(side.loc[side["group"] != "", "group"].nunique()) for name, side in sides.items()},
        "parted_groups": divided_groups(rows),
    }


def check_splits(report: dict[str, Any], split_config: Config) -> list[str]:
    """The warnings of a report. Raises Refused if a side cannot be trained or measured on."""
    if report["parted_groups"]:
        examples = [
            f"{group} ({', '.join(f'{side}: row {row}' for side, row in sides.items())})"
            for group, sides in list(report["parted_groups"].items())[:5]
        ]
        count = len(report["parted_groups"])
        raise Refused(
            f"{count} groups stand on more than one given side: {'; '.join(examples)}. Rows of one group must not be"
            " parted: give them one side, or leave their group empty if they may be parted"
        )
    empty = [side for side, count in report["rows"].items() if not count]
    if empty:
        raise Refused(
            f"no row falls on {' and '.join(empty)} of {sum(report['rows'].values())} rows: bring more rows,"
            " raise split.test_share or split.val_share, or give rows a side in the data"
        )
    warnings = {
        side: f"no row on {side} for {len(labels)} labels: {', '.join(labels[:20])}"
        for side, labels in report["missing"].items()
        if labels
    }
    on_missing = getattr(split_config, "missing_label", None)  # where a model is to write there are no labels to miss
    errors = [text for side, text in warnings.items() if getattr(on_missing, side) == "refuse"]
    if errors:
        raise Refused(
            "; ".join(errors) + ". Bring more rows of these labels, raise curate.min_label_rows so that"
            " labels this rare are left out, or set split.missing_label to warn for that side"
        )
    return list(warnings.values())


def refuse_large_groups(groups: dict[str, int], rows: int, split_config: Config) -> None:
    """Raises Refused with the name and share of each group, the largest first."""
    if groups:
        named = "; ".join(
            f"{name!r} holds {count} of {rows} rows ({count / rows:.0%}){_nobody(name)}"
            for name, count in list(groups.items())[:5]
        )
        raise Refused(
            f"groups that are too large for one side, or no group at all: {named}. A group falls on one side"
            " as a whole. List a word for nothing in curate.missing_words, and each of its rows stands alone; allow a"
            f" group in split.large_groups, or raise split.max_group_share ({split_config.max_group_share:g})"
        )


def main(curated: Path, clusters_parquet: Path, splits: Path, report_json: Path) -> None:
    rows, clusters, config = row_table.read(curated), row_table.read(clusters_parquet), params.load()
    with heartbeat(f"comparing the beginnings of {len(rows):,} rows"):
        unit = units(rows, clusters, config.split, config.task)
    sides = _split(rows, unit, config.split, config.task)
    counts = {**report(rows, sides, config.task), "large_groups": large_groups(rows, config.split)}
    if task_data.of(config.task).split_unit == "prompt":
        counts["continuations"] = continuations(rows, unit, sides)
    counts["near_copies"] = near_copies(rows, unit, clusters, sides, config.task)
    write_json(counts, report_json)  # before the verdict: a refusal is read from it
    refuse_large_groups(counts["large_groups"], len(rows), config.split)
    for sentence in check_continuations(counts.get("continuations", {"rows": 0}), len(rows), config.split):
        print(sentence)
    for sentence in check_near_copies(counts["near_copies"], len(rows), config.split):
        print(sentence)
    for warning in check_splits(counts, config.split):
        print(f"warning: {warning}")
    for name, side in sides.items():
        row_table.write(side, splits / f"{name}.parquet")
    print("rows: " + ", ".join(f"{name} {count}" for name, count in counts["rows"].items()))


if __name__ == "__main__":
    run(main)
