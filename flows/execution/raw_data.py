"""Whether data/raw holds what git and DVC say, before a command reads or writes data. No check changes anything.

git moves the pointer data/raw.dvc (pull, checkout, merge, stash), DVC the bytes: between the two, or in the middle of a
merge, a command would take one side's rows for all. The one difference that Retune itself can leave is that of a killed
ingest; `recovery` finishes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retune.data import unfinished_ingest
from retune.errors import Refused
from retune.system import dvc_files, dvc_store, git
from retune.system.dvc_files import POINTER, RAW

READ_BY_COMMANDS = (  # an edit may leave conflict markers in them, also where git's index knows no conflict any more
    *(str(path) for path in (POINTER, dvc_files.LOCK)),
    *("params.yaml", "dvc.yaml", "data/suppressed.json", "data/label_verdicts.json", "models/start.json"),
)
FOLDERS = (Path("data"), RAW, Path("models"))
BEGINNING = "outs:"  # of a pointer
SHOWN = 3  # names in a message


@dataclass(frozen=True)
class Difference:
    """Files of data/raw against those that the pointer names."""

    missing: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.added or self.changed)


def require_merged() -> None:
    """Raises Refused if a file is in a merge conflict."""
    unmerged = git.unmerged()
    marked = [name for name in READ_BY_COMMANDS if dvc_files.in_conflict(_content(Path(name)))]
    if names := sorted({*unmerged, *marked}, key=lambda name: (name not in READ_BY_COMMANDS, name)):
        conflict = dvc_files.Conflict(Path(names[0]))
        others = f"; {len(names) - 1} more files are: {_some(names[1:])}" if len(names) > 1 else ""
        raise Refused(f"{conflict.message}{others}", remedy=conflict.remedy)


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def require_no_links() -> None:
    """Raises Refused if a folder of the pipeline is a link: DVC tracks nothing behind one."""
    for folder in FOLDERS:
        if folder.is_symlink():
            raise Refused(
                f"{folder} is a link to {folder.readlink()}, and DVC tracks no folder behind a link",
                remedy=f"make {folder} a folder again; to keep the bytes on another disk, `dvc cache dir --local "
                "FOLDER_ON_THAT_DISK` and `dvc config --local cache.type symlink`",
            )


def require_followed() -> None:
    """Raises Refused if data/raw holds other files than its pointer names, unless a killed ingest left it so."""
    if is_ours():
        return
    if not POINTER.exists():
        if names := unfinished_ingest.names(RAW):
            raise Refused(
                f"{RAW} holds {_some(names)}, and there is no {POINTER} that names them: git took the pointer away",
                remedy=f"`git checkout BRANCH -- {POINTER}` brings it back, or move {RAW} elsewhere to start without "
                "these rows",
            )
        return
    if changes := difference():
        raise Refused(_describe(changes), remedy=_remedy(changes))


def is_ours() -> bool:
    """Whether a killed ingest left data/raw so: what was there still is, and the pointer is the old one, or torn."""
    before = unfinished_ingest.read()
    if before is None or not set(before.files) <= set(unfinished_ingest.names(RAW)):
        return False
    text = POINTER.read_text("utf-8", "replace") if POINTER.exists() else None
    return text == before.pointer or (text is not None and is_torn(text))


def is_torn(text: str) -> bool:
    """Whether the text is the beginning of a pointer and no more, as a killed `dvc add` leaves it."""
    try:
        dvc_files.output(POINTER)
    except dvc_files.Damaged:
        return text[: len(BEGINNING)] == BEGINNING[: len(text)]
    except dvc_files.Conflict:
        return False
    return False


def difference() -> Difference:
    """Raises Refused for a pointer in conflict or damaged, and where DVC does not have what it names."""
    entry = dvc_files.output(POINTER)
    names = unfinished_ingest.names(RAW)
    try:
        listing = dvc_store.cached_listing(str(entry["md5"]))
    except dvc_store.MissingBytes:
        sizes = [(RAW / name).stat().st_size for name in names]
        if (len(sizes), sum(sizes)) == (entry.get("nfiles"), entry.get("size")):
            return Difference()
        raise Refused(
            f"{POINTER} names {entry.get('nfiles', 'other')} files that are not in the DVC cache, and {RAW} holds "
            f"{len(names)}: git moved the pointer, and the bytes did not follow",
            remedy=f"`dvc pull {POINTER}`",
        ) from None
    both = [name for name in names if name in listing]
    return Difference(
        missing=tuple(sorted(set(listing) - set(names))),
        added=tuple(name for name in names if name not in listing),
        changed=tuple(name for name in both if not dvc_store.may_be(RAW / name, listing[name])),
    )


def _describe(changes: Difference) -> str:
    parts = [
        f"{_some(names)} {what}"
        for names, what in (
            (changes.missing, "is missing in it"),
            (changes.added, "is not named by the pointer"),
            (changes.changed, "has other bytes"),
        )
        if names
    ]
    return (
        f"{RAW} is not what {POINTER} names: {'; '.join(parts)}. git moved the pointer and the bytes did not follow, "
        "or somebody edited the folder; nothing was changed"
    )


def _remedy(changes: Difference) -> str:
    keep = f"`dvc add {RAW}` keeps the folder as it is" if not changes.missing else ""
    return "; ".join(filter(None, [f"`dvc checkout {POINTER}` (or `dvc pull`) makes it what git says", keep]))


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
