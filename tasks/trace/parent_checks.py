"""Checks of the version that training continued from: its record, its bytes, and what its weights have learned."""

from collections.abc import Iterator

from retune.data import row_table, task_data
from retune.errors import Refused, RetuneError
from retune.evaluation import task_metrics
from retune.lineage import ancestry, history, parent_version
from retune.lineage import record as records
from retune.lineage.check import Check
from retune.lineage.parent_version import ParentVersion
from retune.lineage.record import Record
from retune.registry import versions
from retune.system import dvc_store
from retune.system.files import file_sha256
from tasks.trace.checks import GONE, MISSING, Blobs, equal, same, stored_files, suppression_list


def check_parent(record: Record, blobs: Blobs) -> Iterator[Check]:
    """The file that names the parent, and of the parent its record, its bytes and what it learned."""
    parent = parent_version.of_record(record)
    if "start" in record["training"] or str(parent_version.FILE) in blobs:
        try:
            start = parent_version.as_dict(parent_version.parse(blobs[str(parent_version.FILE)]))
        except (KeyError, Refused) as error:
            start = {"from": MISSING if isinstance(error, KeyError) else str(error)}
        yield same("start", parent_version.as_dict(parent), start)
    if parent:
        yield from _record_of_parent(parent)
        hashes = {
            parent_version.MODEL: parent.model_md5,
            parent_version.TRAIN: parent.train_md5,
            parent_version.VAL: parent.val_md5,
        }
        for path, md5 in hashes.items():
            yield from stored_files(path, md5, prefix="start/")
        yield from _inherited_rows(parent, record, blobs)


def parent_name(parent: ParentVersion | None) -> str:
    return parent.name if parent else parent_version.BASE


def _record_of_parent(parent: ParentVersion) -> Iterator[Check]:
    """The parent's record, which the history vouches for, names the same hashes."""
    try:
        version = versions.resolve(parent.name)
        entry = history.read(version.name).registered(version.version)
        path = versions.version_folder(version) / records.FILE
        evidence, seal = (entry.evidence, entry.seal) if entry else (None, None)
        yield equal(f"record of {parent.name}", evidence or MISSING, file_sha256(path))
        recorded = parent_version.start_of(parent.name, seal or MISSING, records.read(path))
        yield same(f"start from {parent.name}", parent_version.as_dict(parent), parent_version.as_dict(recorded))
    except (RetuneError, OSError) as error:
        yield Check(f"start from {parent.name}", parent.seal, f"{MISSING}: {error}", False)


def _inherited_rows(parent: ParentVersion, record: Record, blobs: Blobs) -> Iterator[Check]:
    """No suppressed row and no test row came with the parent's weights."""
    pair = [row_table.REJECTED] if task_data.of(task_metrics.task_of(record["params"])).has_pairs else []
    test = dvc_store.table(record["data"]["sides"]["test"]["md5"], ["id", "text", *pair])
    suppressed, leaked = f"suppressed rows learned by {parent.name}", f"test rows learned by {parent.name}"
    try:
        rows = ancestry.suppressed_rows_learned(parent, suppression_list(blobs))
        yield equal(suppressed, "none", ancestry.describe_counts(rows))
        if test is None:
            yield equal(leaked, "none", GONE)
        else:
            rows = ancestry.test_rows_learned(parent, test.to_pandas())
            yield equal(leaked, "none", ancestry.describe_counts(rows))
    except Refused as error:
        yield Check(suppressed, "none", str(error), False)
