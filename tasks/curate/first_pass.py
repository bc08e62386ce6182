"""The first pass: what each batch of rows tells by itself, in several processes where there are many rows.

    for part in examinations(batches, context, steps, processes): ...

The parts come in the order of the batches, so the result is the same bytes with any number of processes. Cleaned rows
go to a file without a name, which the second pass reads: cleaning is what costs most, and nothing is cleaned twice.
"""

import os
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from retune.errors import Broken
from tasks.curate.near_copies import Array, Collection
from tasks.curate.row_steps import ROW_STEPS, Context, Rejects, clean
from tasks.curate.shingles import Shingles, shingles
from tasks.curate.table_steps import Hashes

PARALLEL_ROWS = 50_000  # with fewer, a process costs more to start than it gains
BESIDE_COLUMNS = ("redacted", "personal", "row", "test")  # what the second pass needs of a cleaned row


@dataclass(frozen=True)
class Examination:
    cleaned: pa.RecordBatch  # all rows of the batch
    hashes: Hashes
    rejects: dict[str, Rejects]  # by row step
    remaining: Any  # places of the rows that no row step rejects
    shingles: Shingles | None  # of these, where near-copies are sought


def examine(batch: pa.RecordBatch, context: Context, steps: Sequence[str]) -> Examination:
    """A batch as `as_received` gives it, cleaned, with what the row steps reject and what the table steps compare."""
    cleaned = clean(batch, context)
    remaining, rejects = cleaned, {}
    for name in steps:
        if name in ROW_STEPS:
            remaining, rejects[name] = ROW_STEPS[name](remaining, context)
    hashes, seeks = Hashes.of(cleaned, context, steps), "near_copy" in steps and context.config.near_copies.similarity
    return Examination(
        cleaned.select([*context.facts.columns, *BESIDE_COLUMNS, *(["dialogue"] if _seeks_meaning(context) else [])]),
        hashes,
        rejects,
        remaining.column("row").to_numpy(),
        shingles(remaining.column("dialogue").to_pandas()) if seeks else None,
    )


def _seeks_meaning(context: Context) -> bool:
    near_copies = context.config.near_copies
    return near_copies.similarity is not None and near_copies.semantic is not None


def processes(rows: int, context: Context) -> int:
    """How many to use. A model that finds names has threads of its own, and is not loaded twice."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 1 if rows < PARALLEL_ROWS or context.name_finder else cores


def examinations(
    batches: Iterable[pa.RecordBatch], context: Context, steps: Sequence[str], count: int
) -> Iterator[Examination]:
    work = partial(examine, context=context, steps=steps)
    if count == 1:
        yield from map(work, batches)
        return
    with ProcessPoolExecutor(count, get_context("spawn"), _end_with_parent) as pool:
        try:
            yield from _in_order(pool, work, batches, 2 * count)
        except BrokenProcessPool as error:
            raise Broken(
                f"one of {count} processes that clean rows was ended from outside, likely for want of memory",
                remedy="free memory, or let curation see one core only: taskset -c 0 retune run",
            ) from error


def _in_order(
    pool: ProcessPoolExecutor, work: Callable[[pa.RecordBatch], Examination], batches: Iterable[Any], ahead: int
) -> Iterator[Examination]:
    """The results in the order of the batches, of which few are read ahead."""
    waiting: deque[Future[Examination]] = deque()
    for batch in batches:
        waiting.append(pool.submit(work, batch))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _end_with_parent() -> None:
    """A process whose parent was killed would wait for work for good."""

    def watch() -> None:
        if parent := parent_process():
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class Spool:
    """What the first pass leaves for the second one."""

    def __init__(self, cleaned: IO[bytes], near_copies: Collection) -> None:
        self._file, self.near_copies = cleaned, near_copies
        self._writer: Any = None

    def add(self, part: Examination) -> None:
        if self._writer is None:
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._writer = pa.ipc.new_stream(self._file, part.cleaned.schema, options=options)
        self._writer.write_batch(part.cleaned)
        if part.shingles:
            self.near_copies.add(part.remaining, part.shingles)

    def cleaned(self) -> Iterator[pa.RecordBatch]:
        """The batches of cleaned rows, as they were added."""
        if self._writer is None:
            return
        self._writer.close()
        self._file.seek(0)
        with pa.ipc.open_stream(self._file) as batches:
            yield from batches

    def dialogues(self, rows: Array) -> list[str]:
        """What is said in `rows`, ascending places among all. Only where semantic copies are sought it is kept."""
        texts: list[str] = []
        for batch in self.cleaned():
            is_sought = pa.array(np.isin(batch.column("row").to_numpy(), rows))
            texts += batch.column("dialogue").filter(is_sought).to_pylist()
        return texts


@contextmanager
def open_spool(folder: Path | None) -> Iterator[Spool]:
    """Its files have no name, so that they end with the process however it ends."""
    with (
        tempfile.TemporaryFile(dir=folder) as cleaned,
        tempfile.TemporaryFile(dir=folder) as hashes,
        tempfile.TemporaryFile(dir=folder) as signatures,
    ):
        yield Spool(cleaned, Collection(hashes, signatures))
