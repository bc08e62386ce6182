"""Turn a clone to another task: params.yaml and models/start.json are written anew, the records so far leave.

Nothing is lost by it. The two files and data/raw.dvc are refused unless git has them as they are, and the records
themselves stay in the DVC store, where the versions that learned from them find them. What has come in for retraining
waits on a branch of its own (`retune.data.intake_branch`). With the task that the clone has already, the
records stay; and with another version to go on from, whatever params.yaml says of other things.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from flows.execution import dvc
from flows.execution.reproduce import tracked
from flows.project import params_editor
from retune.config import params
from retune.config.classification import Train
from retune.data import intake_branch, task_data
from retune.errors import Refused, WrongUse
from retune.lineage import parent_version
from retune.lineage.parent_version import ParentVersion
from retune.models import manifest
from retune.registry import versions
from retune.system import dvc_pipeline, dvc_store, git
from tasks.register import register

RAW, POINTER = Path("data/raw"), Path("data/raw.dvc")
OF_ROWS = ("curate", "validate", "split")  # the stages that make rows of rows


def switch(task: str, reference: str | None) -> Iterator[str]:
    """Write what `task` needs; says what was done, a line each. Whatever is in the way is refused before that."""
    params_editor.shipped(task)
    for path in ("params.yaml", str(parent_version.FILE)):
        if git.is_edited(path):
            raise WrongUse(f"{path} has edits that git does not hold: commit them, or `git checkout {path}`")
    before = task_so_far()
    if before != task:
        check_records()
    source = Path("params.yaml") if before == task and reference else params_editor.shipped(task)
    begins, values = begin(task, reference, source)
    if before != task:
        if POINTER.exists():
            yield from take_out()
        intake_branch.switch(before, task)
    params_editor.choose(source, values)
    parent_version.write(begins)
    if begins:
        yield f"taken over from {begins.name}: {', '.join(f'{name} {value}' for name, value in values.items())}"
    yield f"params.yaml is for {task} now{f', from {begins.name}' if begins else ''}; commit it to keep it"


def begin(task: str, reference: str | None, source: Path) -> tuple[ParentVersion | None, dict[str, Any]]:
    """Where training starts, and what params.yaml has to say of it; `source`: the file that the rest is taken from."""
    if reference is None:
        if task_data.of(task).has_pairs:
            raise WrongUse(
                "which of two answers is better is learned by a version that writes answers already: "
                "`retune task prefer --from NAME@ALIAS` names it"
            )
        return None, {}
    version = versions.resolve(reference)
    made = register.record_of_version(version)
    values = parent_version.params_from_parent(made, task, manifest.read(versions.model_folder(version)).method)
    room = params.load(source).train
    assert not isinstance(room, Train)
    least = values["train.max_tokens"] * (2 if task_data.of(task).has_pairs else 1)  # one row has to fit, or one pair
    values["train.batch_tokens"] = max(room.batch_tokens, least)
    return parent_version.start_of(str(version), version.tags["seal"], made), values


# ---------------------------------------------------------------- the records so far


def task_so_far() -> str:
    """Without asking whether the rest of params.yaml is as it should be, which is about to go."""
    try:
        told = yaml.safe_load(Path("params.yaml").read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise WrongUse(f"params.yaml cannot be read: {error}; `git checkout params.yaml` brings it back") from None
    return str(told.get("task", "classify")) if isinstance(told, dict) else "classify"


def check_records() -> None:
    """Raises WrongUse or Refused unless git and the DVC store hold all that stands in data/raw."""
    if not POINTER.exists():
        if RAW.exists():
            raise WrongUse(f"{RAW} holds records that DVC does not know: `retune ingest` them, or take them away")
        return
    if git.is_edited(str(POINTER)):
        raise WrongUse(
            f"{RAW} holds records of the task so far, and git does not hold {POINTER} as it is, so nobody would find "
            f"them again: `git add {POINTER} && git commit`"
        )
    if RAW.exists() and (changed := dvc.changes(RAW)):
        raise WrongUse(
            f"{RAW} has changes that DVC does not know: {', '.join(sorted(changed))}; `dvc checkout {POINTER}`"
        )
    try:
        for _, md5 in dvc_store.files(str(RAW), tracked(Path())):
            dvc_store.open_bytes(md5).close()
    except dvc_store.MissingBytes as error:
        raise Refused(
            f"the DVC store does not keep all records of {RAW}: {error}. `dvc add {RAW}` keeps them"
        ) from None


def take_out() -> Iterator[str]:
    """The records, and what was made of them, go from the workspace; the pointer last, so that a kill in between leaves
    what `dvc checkout` mends."""
    md5, commit = tracked(Path()), git.commit()[0]
    stages = dvc_pipeline.pipeline()
    for path in (
        Path(path) for name in OF_ROWS for path in dvc_pipeline.outputs(stages[name]) if path.endswith(".parquet")
    ):
        path.unlink(missing_ok=True)
    shutil.rmtree(RAW, ignore_errors=True)
    POINTER.unlink()
    yield (
        f"the records so far have left {RAW}: the DVC store keeps them under {md5}, and `git checkout {commit[:12]} -- "
        f"{POINTER} && dvc checkout {POINTER}` brings them back"
    )
