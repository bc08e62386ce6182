"""SHA256SUMS: the checksum of every file of a registered version, as `sha256sum -c` reads it.

Standard library only: a version carries this module, so that it can check itself where it is served. The seal of a
version is the sha256 of its SHA256SUMS. Folders count only by what is in them: an empty one is not noticed.
"""

import hashlib
import re
from pathlib import Path

from retune.errors import Broken
from retune.lineage.check import Check
from retune.system.files import file_sha256, write_bytes

FILE = "SHA256SUMS"
META = "registered_model_meta"  # MLflow writes it beside a version that it loads for the first time
NOTHING, MISSING = "nothing", "missing"


def write(folder: Path) -> str:
    """Write SHA256SUMS, the last file of a version. The seal. Raises Broken for what no line could name."""
    checksums = contents(folder)
    for name, checksum in checksums.items():
        if not re.fullmatch("[0-9a-f]{64}", checksum) or not name.isprintable() or "\\" in name:
            raise Broken(
                f"{folder} cannot be sealed: {shown(name)} is {checksum}; only plain files with plain names can be"
            )
    content = _lines(checksums)
    write_bytes(folder / FILE, content)
    return hashlib.sha256(content).hexdigest()


def check(folder: Path, seal: str | None) -> list[Check]:
    """One link for SHA256SUMS, against the seal if it is known, and one for each file that it or the folder has."""
    path = folder / FILE
    if path.is_symlink() or not path.is_file():
        return [Check(FILE, seal or "any", MISSING, ok=False)]
    content = path.read_bytes()
    lines = (re.fullmatch("([0-9a-f]{64})  (.+)", line) for line in content.decode("utf-8", "replace").split("\n"))
    listed = {line[2]: line[1] for line in lines if line}
    digest, whole = hashlib.sha256(content).hexdigest(), _lines(listed) == content
    checksums = contents(folder)
    return [
        Check(FILE, seal or "any", digest if whole else f"{digest}, damaged", ok=whole and seal in (None, digest)),
        *(
            Check(
                shown(name),
                listed.get(name, NOTHING),
                checksums.get(name, MISSING),
                listed.get(name) == checksums.get(name),
            )
            for name in sorted(listed | checksums)
        ),
    ]


def contents(folder: Path) -> dict[str, str]:
    """name -> sha256 of every file but SHA256SUMS, sorted; for a link, a pipe and the like, that it is one."""
    try:
        return {name: _content(path) for name, path in entries(folder).items() if name != FILE}
    except OSError as error:
        raise Broken(f"{error.filename} cannot be read: {error.strerror}") from None


def entries(folder: Path) -> dict[str, Path]:
    """name -> path of whatever is no plain folder, sorted. Links are not followed, so that nothing hides behind one."""
    paths, waiting = {}, [folder]
    while waiting:
        for path in waiting.pop().iterdir():
            name = path.relative_to(folder).as_posix()
            if path.is_dir() and not path.is_symlink():
                waiting.append(path)
            elif name != META or path.is_symlink():
                paths[name] = path
    return dict(sorted(paths.items()))


def shown(name: str) -> str:
    return name if name.isprintable() else ascii(name)


def _content(path: Path) -> str:
    return "a link" if path.is_symlink() else file_sha256(path) if path.is_file() else "no plain file"


def _lines(digests: dict[str, str]) -> bytes:
    return "".join(f"{digests[name]}  {name}\n" for name in sorted(digests)).encode()
