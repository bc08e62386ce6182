"""Bring records in from the checkout and from every source: each row once, in one step with the cursors.

What a source sends is ingested in a worktree of its own, tracked by DVC, and entered on the branch `retune/intake`
together with how far the source was read (`retune/data/intake_branch.py`). A crash before that leaves all as it was,
and the same records come again; after it, they are there.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow.parquet as pq

from flows.execution import dvc, worktree
from retune.config.sources import Fetch
from retune.data import intake_branch, row_table, source_facts
from retune.data.readers.records import Reading
from retune.data.row_mapping import Columns
from retune.data.row_table import SLICES
from retune.errors import Broken, Refused, WrongUse
from retune.registry import backend
from retune.system import dvc_files, dvc_store, failpoints
from tasks import trigger
from tasks.fetch.connector import name_original
from tasks.fetch.fetch import Batch, fetch
from tasks.ingest import Origin, Rules, count_rows, ingest

Say = Callable[[str], None]
RAW, ASIDE = Path("data/raw"), Path("data/aside")
ATTEMPTS = 20  # to move the branch while others do the same
CHECKOUT = "this checkout"  # the source that every clone has: what `retune ingest` brought in
OWN = Columns(text="text", label="label", id="id", group="group", split="given")  # a part of data/raw as a source


@dataclass(frozen=True)
class IngestJob:
    """One file to ingest."""

    file: Path
    columns: Columns
    origin: Origin
    place: str | None = None  # the file that it is a copy of, where the cursor remembers each file by itself
    reading: Reading = Reading()  # noqa: RUF009


@dataclass(frozen=True)
class Delivery:
    """What one source brings, and its cursor once it is in."""

    source: str
    jobs: tuple[IngestJob, ...]
    cursor: intake_branch.Cursor


@dataclass(frozen=True)
class IntakeResult:
    pointer: bytes  # data/raw.dvc with all that came in
    rows: dict[str, int] = field(default_factory=dict)  # source -> new and corrected rows, `known_rows` left out
    failures: dict[str, str] = field(default_factory=dict)  # source -> why nothing could be taken from it
    parts: tuple[str, ...] = ()  # of the checkout's data/raw, by their md5, that the intake did not have
    known_rows: dict[str, int] = field(default_factory=dict)  # source -> rows that the newest version was made from

    @property
    def raw(self) -> str:
        """The DVC hash of data/raw."""
        return intake_branch.md5(self.pointer)


def fetch_sources(section: Fetch, rules: Rules, say: Say = print, enter: bool = True) -> IntakeResult:
    """Fetch what is new from every source. Without `enter` the branch stays as it is.

    A source that fails keeps its cursor and stops no other; nor does a file stop the others of its folder. Raises
    WrongUse if there are no records at all.
    """
    for _ in range(ATTEMPTS):
        before = intake_branch.read()
        with backend.scratch() as scratch:
            deliveries, failures = _deliveries(section, before, Path(scratch), say)
            failpoints.point("retrain:fetched")
            try:
                return _take(before, deliveries, failures, enter, lambda job: _ingest_job(job, rules, say))
            except intake_branch.Moved as error:
                say(f"{error}: trying again")
    raise Broken(f"the branch retune/intake moved {ATTEMPTS} times while rows came in: try again")


def _deliveries(
    section: Fetch, before: intake_branch.Intake, scratch: Path, say: Say
) -> tuple[list[Delivery], dict[str, str]]:
    deliveries = list(_of_the_checkout(before, scratch))
    failures: dict[str, str] = {}
    for batch in fetch(section, before.cursors, scratch, say):
        if batch.error:
            failures[batch.source] = str(batch.error)
            continue
        if batch.refused:
            failures[batch.source] = "; ".join(batch.refused)
        deliveries.append(Delivery(batch.source, _jobs(batch), batch.cursor))
    return [each for each in deliveries if each.jobs or each.cursor != before.cursors.get(each.source)], failures


def _jobs(batch: Batch) -> tuple[IngestJob, ...]:
    columns, origin = Columns(**vars(batch.columns)), Origin(batch.source, batch.licence, batch.collected)
    places = batch.places or (None,) * len(batch.files)
    pairs = zip(batch.files, places, strict=True)
    return tuple(IngestJob(path, columns, origin, place, batch.reading) for path, place in pairs)


@dataclass(frozen=True)
class JobsResult:
    """What became of the files of one source."""

    rows: int
    accepted: tuple[IngestJob, ...]
    refusals: tuple[str, ...]  # why the other files were refused
    cursor: intake_branch.Cursor


def try_each(jobs: Iterable[IngestJob], cursor: intake_branch.Cursor, act: Callable[[IngestJob], int]) -> JobsResult:
    """Act on one file after another; `act` returns rows. A file that is refused stops no other, and comes again.

    Raises what `act` raises for a job without a place: it stands for all of its source.
    """
    rows, accepted, refusals = 0, [], []
    for job in jobs:
        try:
            rows += act(job)
            accepted.append(job)
        except (Refused, WrongUse) as error:
            if job.place is None:
                raise
            refusals.append(name_original(str(error), job.file, Path(job.place)))
            cursor = _without(cursor, job.place)
    return JobsResult(rows, tuple(accepted), tuple(refusals), cursor)


def _without(cursor: intake_branch.Cursor, place: str) -> intake_branch.Cursor:
    """The cursor without that file, so that it comes again."""
    return {**cursor, "files": {name: of for name, of in cursor["files"].items() if name != place}}


def read_closely(batch: Batch, old_cursor: intake_branch.Cursor, say: Say, rules: Rules) -> Batch:
    """The batch, less what ingest would refuse of it: an id with two answers, say. Stores nothing."""
    try:
        result = try_each(
            _jobs(batch),
            batch.cursor,
            lambda job: count_rows(str(job.file), job.columns, job.origin.name, replace(rules, reading=job.reading)),
        )
    except (Refused, WrongUse) as error:
        say(f"{batch.source}: FAILED, nothing of it would be taken: {error}")
        return replace(batch, files=(), rows=0, cursor=old_cursor, error=error)
    for why in result.refusals:
        say(f"{batch.source}: FAILED, the other files would be taken: {why}")
    return replace(
        batch,
        files=tuple(job.file for job in result.accepted),
        places=tuple(job.place for job in result.accepted if job.place),
        rows=result.rows,
        refused=(*batch.refused, *result.refusals),
        cursor=result.cursor,
    )


def _of_the_checkout(before: intake_branch.Intake, scratch: Path) -> Iterator[Delivery]:
    """The parts of the checkout's own data/raw that are not in the intake yet."""
    pointer = Path("data/raw.dvc")
    if not pointer.exists():
        return
    listing = dvc_store.listing(dvc_files.pointer_md5(pointer))
    parts = {path: md5 for path, md5 in sorted(listing.items()) if path.endswith(".parquet")}
    entered_parts = before.cursors.get(CHECKOUT, {}).get("parts", [])
    all_facts = json.loads(dvc_store.read_bytes(listing[source_facts.FILE])) if source_facts.FILE in listing else {}
    jobs = []
    for path, md5 in parts.items():
        if md5 in entered_parts:
            continue
        copy = scratch / CHECKOUT / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        with dvc_store.open_bytes(md5) as reader, copy.open("wb") as file:
            shutil.copyfileobj(reader, file)
        name = str(pq.read_table(copy, columns=["source"])["source"][0].as_py())
        facts = all_facts.get(name, {})
        columns = replace(OWN, slices=SLICES) if SLICES in row_table.names(copy) else OWN
        jobs.append(IngestJob(copy, columns, Origin(name, facts.get("licence"), facts.get("collected"))))
    if jobs:
        yield Delivery(CHECKOUT, tuple(jobs), {"parts": sorted({*entered_parts, *parts.values()})})


def _take(
    before: intake_branch.Intake,
    deliveries: list[Delivery],
    failures: dict[str, str],
    enter: bool,
    take: Callable[[IngestJob], int],
) -> IntakeResult:
    if not deliveries:
        if before.raw is None:
            summary = "; ".join(f"{source}: {why}" for source, why in failures.items())
            raise WrongUse(
                "there are no records yet: bring some in with `retune ingest FILE`, or name a source in params.yaml at"
                f" fetch.sources{f' ({summary})' if summary else ''}"
            )
        return IntakeResult(before.pointers[intake_branch.RAW], {}, failures)
    with _intake_worktree(before):
        rows, cursors = {}, dict(before.cursors)
        for each in deliveries:
            try:
                result = try_each(each.jobs, each.cursor, take)
                rows[each.source], cursors[each.source], refusals = result.rows, result.cursor, result.refusals
            except (Refused, WrongUse) as error:
                refusals = (str(error),)
            if refusals:
                failures[each.source] = "; ".join([*filter(None, [failures.get(each.source)]), *refusals])
        if not RAW.exists():
            raise WrongUse(f"no source has brought any row yet: {'; '.join(f'{k}: {v}' for k, v in failures.items())}")
        _track(RAW, before.raw is None or any(rows.values()), push=enter)
        summary = ", ".join(f"{count} rows from {source}" for source, count in rows.items() if count) or "no new row"
        pointer = Path(intake_branch.RAW).read_bytes()
        if enter and (cursors != before.cursors or pointer != before.pointers.get(intake_branch.RAW)):
            failpoints.point("retrain:before-intake")
            intake_branch.move(before, Path.cwd(), cursors, before.aside, f"Bring in {summary}")
            failpoints.point("retrain:after-intake")
    parts = _parts(cursors) - _parts(before.cursors)
    return IntakeResult(
        pointer, {source: count for source, count in rows.items() if count}, failures, tuple(sorted(parts))
    )


def _parts(cursors: intake_branch.Cursors) -> set[str]:
    return set(cursors.get(CHECKOUT, {}).get("parts", []))


def without_known(result: IntakeResult, newest: str) -> IntakeResult:
    """What came in, less the rows that stand in the raw data of the newest version, by its DVC hash.

    They are not new: the checkout had them when that version was made by hand, and only the intake did not.
    """
    count = result.rows.get(CHECKOUT, 0)
    known_rows = min(count, trigger.known_rows(result.parts, newest)) if count else 0
    if not known_rows:
        return result
    rows = {**result.rows, CHECKOUT: count - known_rows}
    return replace(result, rows={source: new for source, new in rows.items() if new}, known_rows={CHECKOUT: known_rows})


def _ingest_job(job: IngestJob, rules: Rules, say: Say) -> int:
    """New and corrected rows."""
    report = ingest(str(job.file), RAW, job.columns, replace(rules, reading=job.reading), job.origin, also=ASIDE)
    for each in report.reasons:
        say(f"{job.origin.name}: {each.rows} of {report.received} rows are rejected, {each.reason}: {each.example}")
    return report.added + report.corrected


def quarantine(parts: Iterable[str], why: str, at: str) -> list[str]:
    """Quarantine parts of the raw data, by md5. Returns their names; none if no other part would be left."""
    hashes = set(parts)

    def move(before: intake_branch.Intake) -> dict[str, intake_branch.Aside] | None:
        listing = {path: md5 for path, md5 in dvc_store.listing(before.raw or "").items() if path.endswith(".parquet")}
        paths = [path for path, md5 in listing.items() if md5 in hashes]
        if not paths or len(paths) == len(listing):
            return None
        ASIDE.mkdir(parents=True, exist_ok=True)
        for path in paths:
            (RAW / path).rename(ASIDE / path)
        return {**before.aside, **{path: intake_branch.Aside(why, at, _rows(ASIDE / path)) for path in paths}}

    before, after = _move_parts(move, f"Quarantine parts: {why}")
    return sorted(after.keys() - before.keys())


def release(part: str, why: str) -> int:
    """Release a part from quarantine. Returns its number of rows. Raises WrongUse if there is no such part."""

    def move(before: intake_branch.Intake) -> dict[str, intake_branch.Aside] | None:
        if part not in before.aside:
            raise WrongUse(f"Not in quarantine: {part!r}. In quarantine: {', '.join(before.aside) or 'no part'}")
        (ASIDE / part).rename(RAW / part)
        return {name: record for name, record in before.aside.items() if name != part}

    before, _ = _move_parts(move, f"Release {part}: {why}")
    return before[part].rows


QuarantinedParts = dict[str, intake_branch.Aside]


def _move_parts(
    move: Callable[[intake_branch.Intake], QuarantinedParts | None], why: str
) -> tuple[QuarantinedParts, QuarantinedParts]:
    """The quarantined parts before and after. `move` moves the files, and returns None if there is nothing to do."""
    for _ in range(ATTEMPTS):
        before = intake_branch.read()
        with _intake_worktree(before):
            after = move(before)
            if after is None:
                return before.aside, before.aside
            for folder in (RAW, ASIDE):
                _track(folder)
            try:
                intake_branch.move(before, Path.cwd(), before.cursors, after, why)
            except intake_branch.Moved:
                continue
            return before.aside, after
    raise Broken(f"the branch retune/intake moved {ATTEMPTS} times: try again")


@contextmanager
def _intake_worktree(before: intake_branch.Intake) -> Iterator[None]:
    """A worktree of its own that holds the rows of the intake as files."""
    with worktree.workspace("intake", keep=False):
        checkout_intake(before.pointers)
        yield


def checkout_intake(pointers: dict[str, bytes]) -> None:
    """Check out rows into this worktree, as the .dvc files `pointers` name them, and nothing else."""
    for path in (intake_branch.RAW, intake_branch.ASIDE):
        Path(path).unlink(missing_ok=True)
        if path in pointers:
            Path(path).write_bytes(pointers[path])
            dvc.checkout(path)


def _track(folder: Path, changed: bool = True, push: bool = True) -> None:
    if changed:
        folder.mkdir(parents=True, exist_ok=True)
        dvc.track(str(folder))
        if push and dvc_store.has_remote():
            dvc.push(str(folder.with_name(f"{folder.name}.dvc")))


def _rows(part: Path) -> int:
    return int(pq.read_metadata(part).num_rows)
