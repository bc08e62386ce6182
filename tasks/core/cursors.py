"""How far each source has been read: `data/cursors.json`, kept by git beside the pointer to the rows.

    {"desk": {"definition": "<16 hex>", ...}}

Rows and cursors are committed together. A cursor that is lost costs time, never rows: the source is read from its
start, and ingest knows the rows that are there already. What an entry holds is the business of its kind of source.
"""

import json
from pathlib import Path
from typing import Any

from tasks.core.errors import Broken
from tasks.core.shell import write_json

FILE = Path("data/cursors.json")

Cursor = dict[str, Any]
Cursors = dict[str, Cursor]


def read(path: Path = FILE) -> Cursors:
    """The cursors by source; none if nothing was fetched yet. Raises Broken if the file holds anything else."""
    try:
        told = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise Broken(f"{path} cannot be read: {error}. `git checkout {path}` brings it back") from None
    if not isinstance(told, dict) or not all(isinstance(cursor, dict) for cursor in told.values()):
        raise Broken(f"{path} holds something else than a cursor for each source. `git checkout {path}` brings it back")
    return told


def write(cursors: Cursors, path: Path = FILE) -> None:
    write_json(dict(sorted(cursors.items())), path)
