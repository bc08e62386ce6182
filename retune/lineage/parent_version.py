"""Where training starts: from the base, or from the weights of an earlier version. `models/start.json`, kept by git.

    {"from": "base"}                                   as shipped: from the base, with all accumulated data
    {"from": "classifier/3", "model_md5": ..., ...}    go on from that version's weights

The file is a dependency of the train stage, so a start is part of what a model follows from, and `dvc repro` alone
rebuilds a version that continued from another. `python -m tasks.train` finds the bytes by their hashes in DVC's
store. A file that cannot be read is refused, never taken for the base.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from retune.config import renames
from retune.config.classification import Train
from retune.config.params import at
from retune.errors import Refused
from retune.system.stage_io import write_json

FILE = Path("models/start.json")
BASE = "base"
MODEL, TRAIN, VAL = "models/candidate", "data/splits/train.parquet", "data/splits/val.parquet"
MEND = f'write {{"from": "{BASE}"}} to start from the base; `git checkout -- models/start.json` brings back what was'
WRITERS = ("full", "lora", "qlora", "dora")  # methods of a model that writes which can be gone on from
RATE = "train.lora.learning_rate"
FROM = {"instruct": ("instruct", "prefer"), "prefer": ("instruct",)}  # task -> tasks of a version that it goes on from
SHAPES = {
    "name": r"[A-Za-z0-9][A-Za-z0-9_-]*/[1-9][0-9]*",
    "seal": r"[0-9a-f]{64}",
    "record_commit": r"[0-9a-f]{40,64}",
    "fingerprint": r"[0-9a-f]{64}",
    "model_md5": r"[0-9a-f]{32}\.dir",
    "train_md5": r"[0-9a-f]{32}",
    "val_md5": r"[0-9a-f]{32}",
}


@dataclass(frozen=True)
class ParentVersion:
    """The version that training continues from, by all of its hashes."""

    name: str  # NAME/VERSION; `from` in the file
    seal: str
    record_commit: str
    fingerprint: str
    model_md5: str  # of its models/candidate, as DVC has it
    train_md5: str
    val_md5: str
    refit: bool  # whether it learned from val too

    def needed(self) -> dict[str, str]:
        """path -> md5 of all that training reads of that version."""
        learned = {MODEL: self.model_md5, TRAIN: self.train_md5}
        return {**learned, VAL: self.val_md5} if self.refit else learned


def read(path: Path = FILE) -> ParentVersion | None:
    """The start; None is the base. Raises Refused for a file that is missing or that no Retune has written."""
    try:
        return parse(path.read_bytes(), path)
    except OSError as error:
        raise Refused(f"{path} cannot be read, so nobody knows where to start: {error.strerror}. {MEND}") from None


def parse(content: bytes, path: Path = FILE) -> ParentVersion | None:
    """The start in `content`, which stands or stood at `path`."""
    try:
        value = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Refused(f"{path} says no start: {error}. {MEND}") from None
    if value == {"from": BASE}:
        return None
    if wrong := _wrong(value):
        raise Refused(f"{path} says no start: {wrong}. {MEND}")
    return ParentVersion(name=value.pop("from"), **value)


def write(start: ParentVersion | None, path: Path = FILE) -> None:
    write_json(as_dict(start), path)


def as_dict(start: ParentVersion | None) -> dict[str, Any]:
    """The start as the file has it."""
    if start is None:
        return {"from": BASE}
    values = asdict(start)
    return {"from": values.pop("name"), **values}


def start_of(name: str, seal: str, record: Mapping[str, Any]) -> ParentVersion:
    """The parent version `name` (NAME/VERSION), with its seal and its record."""
    hashes = record["pipeline"]["hashes"]
    return ParentVersion(
        name,
        seal,
        record["code"]["record_commit"],
        record["fingerprint"],
        hashes[MODEL],
        hashes[TRAIN],
        hashes[VAL],
        record["training"]["refit"],
    )


def of_record(record: Mapping[str, Any]) -> ParentVersion | None:
    """The parent of a record's version. Older records do not name one: these versions started from the base."""
    start = record.get("training", {}).get("start", {"from": BASE})
    if start["from"] == BASE:
        return None
    return ParentVersion(name=start["from"], **{each.name: start[each.name] for each in fields(ParentVersion)[1:]})


def weights_facts(record: Mapping[str, Any]) -> dict[str, Any]:
    """What `obstacles` asks of weights, as the record of their version has it."""
    lora = renames.upgrade(record["params"])["train"]["lora"]
    return {
        "method": record["training"]["method"],
        "base.name": record["base"]["name"],
        "base.sha256": record["base"]["sha256"],
        "lora.rank": lora["rank"],
        "lora.alpha": lora["alpha"],
    }


def incompatibilities(parent: dict[str, Any], train_config: Train) -> list[str]:
    """Why training under this config cannot continue from the weights of `parent`; empty if it can."""
    if parent["method"] == train_config.method == "probe":
        return ["method probe is fitted anew in seconds and never continued"]
    expected: dict[str, Any] = {
        "method": train_config.method,
        "base.name": train_config.base.name,
        "base.sha256": train_config.base.sha256,
    }
    if parent["method"] == train_config.method == "lora":
        expected |= {"lora.rank": train_config.lora.rank, "lora.alpha": train_config.lora.alpha}
    differing = [key for key in expected if expected[key] != parent[key]]
    return [f"train.{key} is {expected[key]!r}, its own was {parent[key]!r}" for key in differing]


def params_from_parent(record: Mapping[str, Any], task: str, method: str) -> dict[str, Any]:
    """Parameters that training of `task` takes over from the record of its parent: dotted path -> value.

    method: of the parent's network, as its model folder has it; for a version of task prefer the record has dpo or kto.
    Training continues with the parent's adapter, task instruct also with its whole network. The same split parameters
    keep each group and prompt that the parent learned from out of the test split. An adapter that has learned replies
    keeps its learning rate, and learns preferences at a tenth of it. Raises Refused if the task cannot continue from
    such a version.
    """
    config = renames.upgrade(record["params"])
    before = config.get("task", "classify")
    if before not in FROM[task] or method not in WRITERS:
        raise Refused(
            f"{record['name']} is a model of task {before}, its method {method}; {task} goes on from one of task "
            f"{' or '.join(FROM[task])}, its method {', '.join(WRITERS)}: name such a version"
        )
    same = ["train.base.name", "train.base.sha256", "train.template", "train.max_tokens", "register.name"]
    same += [f"split.{name}" for name in ("seed", "val_share", "test_share")]
    if method != "full":
        same += [f"train.lora.{name}" for name in ("rank", "alpha", "rank_stabilised")]
    changes: dict[str, Any] = {"train.method": method} if task == "instruct" else {}
    if method != "full" and before == "instruct":
        changes[RATE] = at(config, RATE) / (10 if task == "prefer" else 1)
    return {name: at(config, name) for name in same} | changes


def _wrong(start: Any) -> str:
    """What is wrong with a start that is not the base; empty if nothing."""
    keys = {"from", *(each.name for each in fields(ParentVersion)[1:])}
    if not isinstance(start, dict) or set(start) != keys:
        actual = f"it has {', '.join(sorted(map(str, start)))}" if isinstance(start, dict) else f"it is {start!r:.100}"
        return f'it has to be {{"from": "{BASE}"}} or an object of {", ".join(sorted(keys))}, and {actual}'
    if type(start["refit"]) is not bool:
        return f"refit is {start['refit']!r:.100}, neither true nor false"
    for name, shape in SHAPES.items():
        key = "from" if name == "name" else name
        value = start[key]
        if not isinstance(value, str) or not re.fullmatch(shape, value):
            return f"{key} is {value!r:.100}, which does not fit {shape}"
    return ""
