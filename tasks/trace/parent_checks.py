"""Checks of the version that training continued from: its record, its bytes, and what its weights have learned."""

from collections.abc import Iterator

from retune.data import row_table
from retune.errors import Refused, RetuneError
from retune.evaluation import task_metrics
from retune.lineage import ancestry, history, parent_version, record
from retune.lineage.check import Check
from retune.lineage.record import Record
from retune.registry import versions
from retune.system import dvc_store
from retune.system.files import file_sha256
from tasks.trace.checks import GONE, MISSING, equal, same, stored, suppression_list


def check_parent(made: Record, kept: dict[str, bytes]) -> Iterator[Check]:
    """Where training started: the file that said so and, of a version, its record, its bytes and what it learned."""
    begins = parent_version.of_record(made)
    if "start" in made["training"] or str(parent_version.FILE) in kept:
        try:
            said = parent_version.as_dict(parent_version.parse(kept[str(parent_version.FILE)]))
        except (KeyError, Refused) as error:
            said = {"from": MISSING if isinstance(error, KeyError) else str(error)}
        yield same("start", parent_version.as_dict(begins), said)
    if begins:
        yield from _record_of_start(begins)
        hashes = {
            parent_version.MODEL: begins.model_md5,
            parent_version.TRAIN: begins.train_md5,
            parent_version.VAL: begins.val_md5,
        }
        for path, md5 in hashes.items():
            try:
                yield from (stored(f"start/{name}", own) for name, own in dvc_store.files(path, md5))
            except Refused as error:  # a folder whose listing is gone or damaged
                yield Check(
                    f"start/{path}", md5, GONE if isinstance(error, dvc_store.MissingBytes) else str(error), False
                )
        yield from _inherited_rows(begins, made, kept)


def parent_name(begins: parent_version.ParentVersion | None) -> str:
    return begins.name if begins else parent_version.BASE


def _record_of_start(begins: parent_version.ParentVersion) -> Iterator[Check]:
    """The record of the version that was continued from, which the history vouches for, names the same hashes."""
    try:
        version = versions.resolve(begins.name)
        entry = history.read(version.name).registered(version.version)
        path, facts = versions.version_folder(version) / record.FILE, entry.facts if entry else {}
        yield equal(f"record of {begins.name}", facts.get("Evidence", MISSING), file_sha256(path))
        theirs = parent_version.start_of(begins.name, facts.get("Seal", MISSING), record.read(path))
        yield same(f"start from {begins.name}", parent_version.as_dict(begins), parent_version.as_dict(theirs))
    except (RetuneError, OSError) as error:
        yield Check(f"start from {begins.name}", begins.seal, f"{MISSING}: {error}", False)


def _inherited_rows(begins: parent_version.ParentVersion, made: Record, kept: dict[str, bytes]) -> Iterator[Check]:
    """Nothing that must not be learned from, and no test row, came with the weights."""
    pair = [row_table.REJECTED] if task_metrics.task_of(made["params"]) == "prefer" else []
    test = dvc_store.table(made["data"]["sides"]["test"]["md5"], ["id", "text", *pair])
    names = f"suppressed rows learned by {begins.name}", f"test rows learned by {begins.name}"
    try:
        yield equal(names[0], "none", ancestry.told(ancestry.suppressed_rows_learned(begins, suppression_list(kept))))
        leaked = GONE if test is None else ancestry.told(ancestry.test_rows_learned(begins, test.to_pandas()))
        yield equal(names[1], "none", leaked)
    except Refused as error:
        yield Check(names[0], "none", str(error), False)
