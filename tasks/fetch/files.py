"""A file, a folder or a glob. The cursor is the size and hash of each file, so no clock and no order of names matters.

A file that grew or changed is copied again whole: ingest knows the rows that are there already. What is copied is what
was hashed. A file that is still being written waits for the next fetch. The files come in the order of their names:
where two of one fetch hold the same id, the words of the later name win.

A file that cannot be read is told and stops no other: it has an entry of its own in the cursor, which stays as it was,
so that it comes with the next fetch once it is mended, as the latest word of its ids.
"""

import glob
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from retune.config.sources import Fetch, FileReading, FileSource
from retune.data.intake_branch import Cursor
from retune.data.readers.records import Reading
from retune.data.readers.source import FORMATS, NoRows, is_readable, read
from retune.data.readers.table import HALF_PAIR
from retune.data.rejects import refuse_too_many
from retune.errors import Broken, Refused, RetuneError, WrongUse
from tasks.fetch.connector import FetchResult, name_original, refuse_too_much, require

UNFINISHED = (".tmp", ".part", ".partial", ".filepart", ".crdownload", ".swp", "~")
CHUNK = 1 << 20

FileEntries = dict[str, dict[str, str | int]]  # path -> its size and hash


@dataclass(frozen=True)
class FileState:
    """Changes when somebody writes to the file."""

    size: int
    changed: int  # nanoseconds, by the clock of whoever wrote


def take(
    source: FileSource, fetch_config: Fetch, cursor: Cursor, into: Path, say: Callable[[str], None]
) -> FetchResult:
    try:
        paths = list_files(source.path, say)
    except OSError as error:
        raise _unreadable(Path(source.path), error) from None
    before = _file_entries(cursor)
    errors: list[RetuneError] = [_not_utf8(path) for path in paths if not _is_utf8(path)]
    paths = [path for path in paths if _is_utf8(path)]
    settled = _settled(paths, fetch_config.settle_seconds)
    entries: FileEntries = {str(path): before[str(path)] for path in paths if str(path) in before}
    originals: dict[Path, Path] = {}  # copy -> original
    rows = size = 0
    waiting = [path for path in paths if path not in settled and path.exists()]
    for path, state in settled.items():
        try:
            if _is_unchanged(path, state, entries.get(str(path))):
                continue
            size += state.size
            refuse_too_much(size, fetch_config, source.path)
            copy = into / f"{len(originals) + 1:05d}-{path.name[-200:]}"
            entry = _copy(path, copy, state)
            if entry is None:
                waiting.append(path)
                continue
            if count := _rows(copy, path, source, say):
                originals[copy] = path
                rows += count
            entries[str(path)] = entry
        except UnusableFile as problem:
            errors.append(problem.error)
    _refuse_all(errors, bool(originals))
    for path in waiting:
        say(f"{path} is still being written: it waits for the next time")
    return FetchResult(
        tuple(originals),
        rows,
        {"files": dict(sorted(entries.items()))},
        tuple(map(str, waiting)),
        tuple(map(str, errors)),
        tuple(map(str, originals.values())),
    )


class UnusableFile(Exception):
    """One file cannot be taken, for a reason that concerns no other."""

    def __init__(self, error: RetuneError) -> None:
        super().__init__(str(error))
        self.error = error


def _refuse_all(errors: list[RetuneError], others: bool) -> None:
    """Raises what is wrong, of every file, where no other brings a row."""
    if errors and not others:
        raise errors[0] if len(errors) == 1 else Refused("; ".join(map(str, errors)))


def _file_entries(cursor: Cursor) -> FileEntries:
    entries = cursor.get("files", {})
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise Broken("its cursor is damaged: remove its entry from the cursors, and every file is read again")
    return entries


BY_CONTENT = FileReading(delimiter=None, encoding=None, sheet=None, header=True)


def reading(source: FileSource) -> Reading:
    """What params say of how its files are read."""
    stated = source.reading
    return Reading(stated.delimiter, stated.encoding, stated.header, stated.sheet)


def list_files(path: str, say: Callable[[str], None]) -> list[Path]:
    """The files that are meant, by name. Raises WrongUse if there is nothing where params point to."""
    if Path(path).is_file():
        return [Path(path)]
    pattern = glob.has_magic(path) and not Path(path).exists()
    fixed = _fixed_part(path) if pattern else Path(path)
    matches = list(fixed.glob(str(Path(path).relative_to(fixed)))) if pattern else _in_folder(fixed)
    if pattern and not fixed.is_dir():
        raise WrongUse(f"there is no folder {fixed}: mend `path` of the source, or mount what belongs there")
    files = sorted(file for file in matches if file.is_file() and not file.name.startswith("."))
    other = [file.name for file in files if not is_readable(file) and not _unfinished(file)]
    if other:
        say(f"not read, since I read {', '.join(FORMATS)}: {', '.join(other[:5])}{' …' if len(other) > 5 else ''}")
    if pattern and not files:
        say(f"no file matches {path}: if that is no quiet week, mend `path` of the source in params.yaml")
    return [file for file in files if file.name not in other]


def _in_folder(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise WrongUse(f"{folder} cannot be read: {error.strerror}. Mend `path` of the source in params.yaml") from None


def _fixed_part(pattern: str) -> Path:
    """The folder below which a glob looks."""
    parts = Path(pattern).parts
    return Path(*parts[: next(place for place, part in enumerate(parts) if glob.has_magic(part))])


def _is_utf8(file: Path) -> bool:
    return not HALF_PAIR.search(str(file))


def _not_utf8(file: Path) -> RetuneError:
    return Refused(f"{str(file)!a} has a name that is not UTF-8, which Retune cannot record: rename it")


def _unfinished(file: Path) -> bool:
    return file.name.lower().endswith(UNFINISHED)


def _settled(files: list[Path], settle_seconds: float) -> dict[Path, FileState]:
    """The files that nobody is writing to, each as it is now.

    A file from the future (a clock was moved) says nothing by its age: it is looked at twice.
    """
    now = time.time()
    states = {file: state for file in files if not _unfinished(file) and (state := _state(file))}
    age = {file: now - state.changed / 1e9 for file, state in states.items()}
    if any(seconds < 0 for seconds in age.values()):
        time.sleep(settle_seconds)
    return {
        file: state
        for file, state in states.items()
        if age[file] >= settle_seconds or (age[file] < 0 and _state(file) == state)
    }


def _state(file: Path) -> FileState | None:
    try:
        status = file.stat()
    except FileNotFoundError:  # gone since it was listed
        return None
    except OSError as error:
        raise _unreadable(file, error) from None
    return FileState(status.st_size, status.st_mtime_ns)


def _is_unchanged(path: Path, state: FileState, entry: dict[str, str | int] | None) -> bool:
    """Whether the file is as it was when it was fetched."""
    if entry is None or entry.get("bytes") != state.size:
        return False
    return entry.get("sha256") == _sha256(_chunks(path))


def _copy(path: Path, copy: Path, state: FileState) -> dict[str, str | int] | None:
    """Size and hash of what was copied; None if the file changed meanwhile."""
    with copy.open("wb") as target:
        digest = _sha256(_written(chunk, target.write) for chunk in _chunks(path))
    if _state(path) != state:
        copy.unlink()
        return None
    return {"bytes": state.size, "sha256": digest}


def _written(chunk: bytes, write: Callable[[bytes], int]) -> bytes:
    write(chunk)
    return chunk


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
    except OSError as error:
        raise UnusableFile(_unreadable(path, error)) from None


def _sha256(chunks: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def _unreadable(path: Path, error: OSError) -> RetuneError:
    return Refused(f"{path} cannot be read: {error.strerror or error}. Mend its rights, or take it out of the folder")


def _rows(copy: Path, path: Path, source: FileSource, say: Callable[[str], None]) -> int:
    """How many rows the copy holds, every column that params name among them. Errors name the original.

    Of rows that cannot be read, ingest decides whether they are too many."""
    try:
        must_have = frozenset(filter(None, (source.columns.text, source.columns.label)))
        table = read(str(copy), replace(reading(source), must_have=must_have))
        if not table.places:
            refuse_too_many(table.name, table.rejects, len(table.rejects), 0.0)
        require(source.columns, table.names, str(path))
    except NoRows:
        say(f"{path} holds no rows: nothing to bring in")
        copy.unlink()
        return 0
    except RetuneError as error:
        copy.unlink()
        raise UnusableFile(type(error)(name_original(str(error), copy, path))) from None
    return len(table.places) + len(table.rejects)
