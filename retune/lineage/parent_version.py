"""Where training starts: from the base, or from the weights of an earlier version. `models/start.json`, kept by git.

    {"from": "base"}                                   as shipped: from the base, with all accumulated data
    {"from": "classifier/3", "model_md5": ..., ...}    go on from that version's weights

The file is a dependency of the train stage, so a start is part of what a model follows from, and `dvc repro` alone
rebuilds a version that continued from another. `python -m tasks.train` finds the bytes by their hashes in DVC's
store. A file that cannot be read is refused, never taken for the base.
"""

import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from retune.config import renames
from retune.config.params import Train, at
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
        told = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Refused(f"{path} says no start: {error}. {MEND}") from None
    if told == {"from": BASE}:
        return None
    if wrong := _wrong(told):
        raise Refused(f"{path} says no start: {wrong}. {MEND}")
    return ParentVersion(name=told.pop("from"), **told)


def write(start: ParentVersion | None, path: Path = FILE) -> None:
    write_json(as_dict(start), path)


def as_dict(start: ParentVersion | None) -> dict[str, Any]:
    """The start as the file has it."""
    if start is None:
        return {"from": BASE}
    told = asdict(start)
    return {"from": told.pop("name"), **told}


def start_of(name: str, seal: str, made: dict[str, Any]) -> ParentVersion:
    """To go on from the version `name` (NAME/VERSION) with that seal, whose record is `made`."""
    hashes = made["pipeline"]["hashes"]
    return ParentVersion(
        name,
        seal,
        made["code"]["record_commit"],
        made["fingerprint"],
        hashes[MODEL],
        hashes[TRAIN],
        hashes[VAL],
        made["training"]["refit"],
    )


def of_record(made: dict[str, Any]) -> ParentVersion | None:
    """Where the version of a record started. Records from before there was a choice say nothing: from the base."""
    told = made.get("training", {}).get("start", {"from": BASE})
    if told["from"] == BASE:
        return None
    return ParentVersion(name=told["from"], **{each.name: told[each.name] for each in fields(ParentVersion)[1:]})


def made_as(made: dict[str, Any]) -> dict[str, Any]:
    """What `obstacles` asks of weights, as the record of their version has it."""
    lora = renames.upgrade(made["params"])["train"]["lora"]
    return {
        "method": made["training"]["method"],
        "base.name": made["base"]["name"],
        "base.sha256": made["base"]["sha256"],
        "lora.rank": lora["rank"],
        "lora.alpha": lora["alpha"],
    }


def incompatibilities(there: dict[str, Any], section: Train) -> list[str]:
    """Why weights that were made as `there` says cannot be continued under these params; empty if they can."""
    if there["method"] == section.method == "probe":
        return ["method probe is fitted anew in seconds and never continued"]
    here: dict[str, Any] = {
        "method": section.method,
        "base.name": section.base.name,
        "base.sha256": section.base.sha256,
    }
    if there["method"] == section.method == "lora":
        here |= {"lora.rank": section.lora.rank, "lora.alpha": section.lora.alpha}
    differing = [key for key in here if here[key] != there[key]]
    return [f"train.{key} is {here[key]!r}, its own was {there[key]!r}" for key in differing]


def params_from_parent(made: dict[str, Any], task: str, method: str) -> dict[str, Any]:
    """What params.yaml says of a version that `task` goes on from, as its record has it: dotted path -> value.

    `method`: of its network, as its model folder has it; of a version of task prefer the record says dpo or kto.
    Its adapter is gone on with, by task instruct its whole network too. Its sides are parted anew in the same way, so
    that a group or a prompt that it has learned from is none of the test rows. An adapter that has learned replies goes
    on at its own rate, and learns preferences at a tenth of that. Raises Refused for a version that is no start for the
    task.
    """
    values = renames.upgrade(made["params"])
    before = values.get("task", "classify")
    if before not in FROM[task] or method not in WRITERS:
        raise Refused(
            f"{made['name']} is a model of task {before}, its method {method}; {task} goes on from one of task "
            f"{' or '.join(FROM[task])}, its method {', '.join(WRITERS)}: name such a version"
        )
    same = ["train.base.name", "train.base.sha256", "train.template", "train.max_tokens", "register.name"]
    same += [f"split.{name}" for name in ("seed", "val_share", "test_share")]
    if method != "full":
        same += [f"train.lora.{name}" for name in ("rank", "alpha", "rank_stabilised")]
    own: dict[str, Any] = {"train.method": method} if task == "instruct" else {}
    if method != "full" and before == "instruct":
        own[RATE] = at(values, RATE) / (10 if task == "prefer" else 1)
    return {name: at(values, name) for name in same} | own


def _wrong(told: Any) -> str:
    """What is wrong with a start that is not the base, or nothing."""
    keys = {"from", *(each.name for each in fields(ParentVersion)[1:])}
    if not isinstance(told, dict) or set(told) != keys:
        given = f"it has {', '.join(sorted(map(str, told)))}" if isinstance(told, dict) else f"it is {told!r:.100}"
        return f'it has to be {{"from": "{BASE}"}} or an object of {", ".join(sorted(keys))}, and {given}'
    if type(told["refit"]) is not bool:
        return f"refit is {told['refit']!r:.100}, neither true nor false"
    for name, shape in SHAPES.items():
        value = told["from" if name == "name" else name]
        if not isinstance(value, str) or not re.fullmatch(shape, value):
            return f"{'from' if name == 'name' else name} is {value!r:.100}, which does not fit {shape}"
    return ""
