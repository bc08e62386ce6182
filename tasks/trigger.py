"""Whether to train again, and why: what there is now beside what the newest version was made from.

    retune retrain --dry-run

Training the same bytes with the same code and parameters gives the same bits, so where nothing differs there is
nothing to do, however old the champion is and whoever asks. Everything is read from git and the DVC store: the answer
"nothing to do" needs no registry, no torch and no server.
"""

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pyarrow.parquet as pq
import yaml

from retune.config import params, renames
from retune.config.common import Trigger
from retune.data import suppression
from retune.lineage import ancestry, history
from retune.system import dvc_pipeline, dvc_store, git
from retune.system.files import file_md5

CONTENT = ["id", "text", "label", "group", "given", "rejected"]  # what makes a row the same, as far as it has them
RAW, LIST, START = "data/raw", "data/suppressed.json", "models/start.json"
TOLD = 8  # changes that are named


@dataclass(frozen=True)
class TrainingInputs:
    """What a model is made from."""

    raw: str  # DVC hash of data/raw
    suppressed: str  # md5 of the list
    params: dict[str, Any]  # dotted path -> value, of the sections that a stage reads
    code: dict[str, str]  # what stages run and the md5 of every file that they read and git keeps


@dataclass(frozen=True)
class VersionInputs:
    """A version: its name, when it was registered or became champion, and what it was made from."""

    name: str
    at: datetime
    state: TrainingInputs
    commit: str  # its record


@dataclass(frozen=True)
class RowChanges:
    new: int  # rows of data/raw that the newest version's data did not hold as they are
    forgotten: int  # rows that are suppressed now and that the champion learned from


@dataclass(frozen=True)
class RetrainDecision:
    """Whether to train, why or why not, and on what the answer rests."""

    train: bool
    why: tuple[str, ...]
    inputs: dict[str, Any] = field(default_factory=dict)
    thresholds: dict[str, Any] = field(default_factory=dict)


def should_retrain(
    now: TrainingInputs,
    newest: VersionInputs | None,
    champion: VersionInputs | None,
    rows: RowChanges,
    because: str | None,
    section: Trigger,
    at: datetime,
) -> RetrainDecision:
    """rows: how `now` differs from the data of `newest` and `champion`; because: who asked for it and why, if anybody
    did."""
    then = newest.state if newest else None
    if then:
        now, then = _as_compared(now, section), _as_compared(then, section)
    changes = _changes(then, now) if then else []
    inputs = {
        "raw": now.raw,
        "newest": newest.name if newest else None,
        "champion": champion.name if champion else None,
        "champion_age_days": _age(champion, at) if champion else 0,
        "new_rows": rows.new,
        "forgotten_rows": rows.forgotten,
        "changes": changes,
        "because": because,
    }
    answer = (True, ["there is no version yet"]) if newest is None else _reasons(inputs, now != then, section)
    return RetrainDecision(answer[0], tuple(answer[1]), inputs, asdict(section))


def _age(champion: VersionInputs, at: datetime) -> int | None:
    """In days; None if it became champion in the future. An entry may be seconds ahead, for the sake of order."""
    if champion.at - at >= timedelta(days=1):
        return None
    return max((at - champion.at).days, 0)


def _reasons(facts: dict[str, Any], differs: bool, section: Trigger) -> tuple[bool, list[str]]:
    newest, champion, rows = facts["newest"], facts["champion"], facts["new_rows"]
    request = f"asked for: {facts['because']}" if facts["because"] else None
    days, allowed = facts["champion_age_days"], section.max_age_days
    old = allowed and champion and days is not None and days >= allowed
    age = f"{champion} has been champion for {days} days, {allowed} allowed"
    ageless = f"{champion} became champion in the future, by this clock, so its age is unknown"
    quiet_reasons = [ageless] if allowed and days is None else []
    tainted = f"{champion} learned from {facts['forgotten_rows']} rows that are suppressed now"
    if not differs:
        wished = [*quiet_reasons, *(wish for wish in (request, age if old else None) if wish)]
        if facts["forgotten_rows"] and champion != newest:
            wished.append(f"{tainted}, {newest} from none of them: `retune promote {newest} --reason TEXT`")
        return False, [*wished, f"nothing differs from what {newest} was made from: the same bits would come out"]
    why = [request] if request else []
    if rows >= section.new_rows:
        why.append(f"{rows} new or corrected rows since {newest}, {section.new_rows} asked")
    if section.on_change:
        why += facts["changes"][:TOLD] + (
            [f"{more} more changes"] if (more := len(facts["changes"]) - TOLD) > 0 else []
        )
    if old:
        why.append(age)
    if section.on_forgotten and facts["forgotten_rows"]:
        why.append(tainted)
    if why:
        return True, why
    quiet = [*quiet_reasons, f"{rows} new or corrected rows since {newest}, {section.new_rows} asked"]
    if facts["changes"]:
        quiet.append(f"{len(facts['changes'])} changes of parameters or code do not count: trigger.on_change is false")
    return False, quiet


def same_inputs(now: TrainingInputs, then: TrainingInputs, section: Trigger) -> bool:
    """Whether the same bits would come out."""
    return _as_compared(now, section) == _as_compared(then, section)


def _as_compared(state: TrainingInputs, section: Trigger) -> TrainingInputs:
    """Under `incremental`, where it starts follows from who is champion, and is no reason."""
    if not section.incremental:
        return state
    return replace(state, code={path: md5 for path, md5 in state.code.items() if path != START})


def _changes(before: TrainingInputs, now: TrainingInputs) -> list[str]:
    keys = sorted(key for key in before.params | now.params if before.params.get(key) != now.params.get(key))
    changes = [f"{key}: {before.params.get(key, 'not set')} → {now.params.get(key, 'not set')}" for key in keys]
    files = sorted(path for path in before.code | now.code if before.code.get(path) != now.code.get(path))
    return changes + [f"{path} changed" for path in files]


def current_inputs(raw: str) -> TrainingInputs:
    """The state of the code and parameters of this folder, with the rows of `raw`."""
    stages, values = dvc_pipeline.pipeline(), yaml.safe_load(Path("params.yaml").read_text("utf-8"))
    output_paths = {path for entry in stages.values() for path in dvc_pipeline.outputs(entry)}
    input_paths = {dep for entry in stages.values() for dep in entry["deps"]} - output_paths - {RAW, LIST}
    code = {path: file_md5(Path(path)) for path in input_paths if Path(path).is_file()}
    return TrainingInputs(raw, file_md5(Path(LIST)), *_of(stages, code, values))


def digest(state: TrainingInputs) -> str:
    """One name for everything that a model is made from."""
    return hashlib.sha256(json.dumps(asdict(state), sort_keys=True, default=str).encode()).hexdigest()


def _of(stages: dict[str, Any], code: dict[str, str], values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    read = {name: params.at(values, name) for entry in stages.values() for name in entry.get("params", [])}
    commands = {f"command of {name}": " ".join(entry["cmd"].split()) for name, entry in stages.items()}
    return params.flat(read), {**code, **commands}


def newest(chain: history.Chain, among: Collection[str]) -> VersionInputs | None:
    """The newest of these versions, whatever became of it."""
    entries = [entry for entry in chain.entries if entry.event == history.REGISTERED]
    entries = [entry for entry in entries if entry.version_name in among]
    return _made(entries[-1]) if entries else None


def champion(chain: history.Chain) -> VersionInputs | None:
    entry = chain.champion()
    return _made(entry) if entry else None


def _made(entry: history.Entry) -> VersionInputs | None:
    """None if git no longer has the commit: then there is nothing to compare with, so training is due."""
    blobs = git.blobs(entry.commit, ["dvc.lock", "params.yaml"])
    if len(blobs) < 2:
        return None
    stages = yaml.safe_load(blobs["dvc.lock"])["stages"]
    values = renames.upgrade(yaml.safe_load(blobs["params.yaml"]))
    stages = {
        name: {**entry_of_stage, "params": list(entry_of_stage.get("params", {}).get("params.yaml", {}))}
        for name, entry_of_stage in stages.items()
    }
    output_paths = {out["path"] for entry_of_stage in stages.values() for out in entry_of_stage.get("outs", [])}
    deps = {
        dep["path"]: dep["md5"]
        for entry_of_stage in stages.values()
        for dep in entry_of_stage["deps"]
        if dep["path"] not in output_paths
    }
    raw, listed = deps.pop(RAW), deps.pop(LIST)
    state = TrainingInputs(raw, listed, *_of(stages, deps, values))
    return VersionInputs(entry.version_name, datetime.fromisoformat(entry.at), state, entry.commit)


def new_rows(now: str, then: str) -> int:
    """How many rows of one raw folder are not in another as they are: new and corrected ones. DVC hashes."""
    if now == then:
        return 0
    rows, earlier_rows = _rows(now), _rows(then)
    return int((~rows.isin(earlier_rows)).sum())


def known_rows(parts: Iterable[str], then: str) -> int:
    """How many rows of these parts a raw folder holds as they are. DVC hashes."""
    return int(_rows_of(parts).isin(_rows(then)).sum())


def _rows(md5: str) -> pd.Series:
    """A hash of each distinct row of a raw folder."""
    return _rows_of(part_md5 for path, part_md5 in sorted(dvc_store.listing(md5).items()) if path.endswith(".parquet"))


def _rows_of(parts: Iterable[str]) -> pd.Series:
    frames = [_columns(part) for part in parts]
    if not frames:
        return pd.Series([], dtype="uint64")
    return pd.util.hash_pandas_object(pd.concat(frames, ignore_index=True), index=False).drop_duplicates()


def _columns(md5: str) -> pd.DataFrame:
    with pq.ParquetFile(dvc_store.parquet(md5)) as file:  # asks for those columns that there are
        return cast(pd.DataFrame, file.read(columns=CONTENT).to_pandas())


def suppressed_rows(chain: history.Chain, listed: suppression.Suppression) -> int:
    """How many rows that are suppressed now the champion learned from."""
    entry = chain.champion()
    return ancestry.count_suppressed_rows(entry, listed) if entry else 0


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
