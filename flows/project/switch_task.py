"""Switch a clone to another task: write params.yaml and models/start.json anew, and remove the records from data/raw.

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
OF_ROWS = ("curate", "validate", "split")  # the stages that turn rows into rows


def switch(task: str, reference: str | None) -> Iterator[str]:
    """Write what `task` needs; yields a line for each change. Refuses before it changes anything."""
    params_editor.shipped(task)
    for path in ("params.yaml", str(parent_version.FILE)):
        if git.is_edited(path):
            raise WrongUse(f"{path} has uncommitted edits: commit them, or `git checkout {path}`")
    before = current_task()
    if before != task:
        check_records()
    source = Path("params.yaml") if before == task and reference else params_editor.shipped(task)
    parent, values = find_parent(task, reference, source)
    if before != task:
        if POINTER.exists():
            yield from remove_records()
        intake_branch.switch(before, task)
    params_editor.choose(source, values)
    parent_version.write(parent)
    if parent:
        yield f"copied from {parent.name}: {', '.join(f'{name} {value}' for name, value in values.items())}"
    yield f"params.yaml is for {task} now{f', from {parent.name}' if parent else ''}; commit it to keep it"


def find_parent(task: str, reference: str | None, source: Path) -> tuple[ParentVersion | None, dict[str, Any]]:
    """The version that training continues from, and the parameters that it fixes, by dotted path.

    source: the file that has all other parameters. Raises WrongUse if the task needs a version and none is named.
    """
    if reference is None:
        if task_data.of(task).has_pairs:
            raise WrongUse(
                "Task prefer continues from a version that generates answers: name it with "
                "`retune task prefer --from NAME@ALIAS`"
            )
        return None, {}
    version = versions.resolve(reference)
    record = register.record_of_version(version)
    values = parent_version.params_from_parent(record, task, manifest.read(versions.model_folder(version)).method)
    train_config = params.load(source).train
    assert not isinstance(train_config, Train)
    least = values["train.max_tokens"] * (2 if task_data.of(task).has_pairs else 1)  # one row has to fit, or one pair
    values["train.batch_tokens"] = max(train_config.batch_tokens, least)
    return parent_version.start_of(str(version), version.tags["seal"], record), values


def current_task() -> str:
    """The task of params.yaml, whose other parameters are not checked: they are replaced next."""
    try:
        values = yaml.safe_load(Path("params.yaml").read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise WrongUse(f"params.yaml cannot be read: {error}; `git checkout params.yaml` brings it back") from None
    return str(values.get("task", "classify")) if isinstance(values, dict) else "classify"


def check_records() -> None:
    """Raises WrongUse or Refused unless git and the DVC store have everything in data/raw."""
    if not POINTER.exists():
        if RAW.exists():
            raise WrongUse(f"{RAW} has records that DVC does not know: `retune ingest` them, or remove them")
        return
    if git.is_edited(str(POINTER)):
        raise WrongUse(
            f"{RAW} has records of the current task that would be lost, as {POINTER} has uncommitted edits: "
            f"`git add {POINTER} && git commit`"
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
            f"the DVC store does not have all records of {RAW}: {error}. `dvc add {RAW}` stores them"
        ) from None


def remove_records() -> Iterator[str]:
    """Remove the records, and what was computed from them, from the workspace.

    The pointer goes last: after a kill in between, `dvc checkout` restores the rest.
    """
    md5, commit = tracked(Path()), git.commit()[0]
    stages = dvc_pipeline.pipeline()
    for path in (
        Path(path) for name in OF_ROWS for path in dvc_pipeline.outputs(stages[name]) if path.endswith(".parquet")
    ):
        path.unlink(missing_ok=True)
    shutil.rmtree(RAW, ignore_errors=True)
    POINTER.unlink()
    yield (
        f"removed the records from {RAW}: the DVC store keeps them under {md5}, and `git checkout {commit[:12]} -- "
        f"{POINTER} && dvc checkout {POINTER}` brings them back"
    )
