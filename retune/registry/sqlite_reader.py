"""Read the registry of this clone, a SQLite file of MLflow's tables, without MLflow, whose import takes three seconds.

Each function returns None where only MLflow's client can tell: the registry is a server, or the tables are of another
MLflow. Nothing here writes.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from retune.registry import backend
from retune.registry.version import Version, iso_time

BUSY = 30  # seconds to wait for a writer

T = TypeVar("T")


def versions(name: str | None) -> list[Version] | None:
    """Every version, of one model or of all."""
    empty: list[Version] = []
    return _read(lambda database: _versions(database, name), empty)


def folder(version: Version) -> Path | None:
    """The folder of a version, if it is on this machine."""
    return _read(lambda database: _folder(database, version), None)


def tags_of_models(key: str) -> dict[str, str] | None:
    """Model -> value of that tag, for the models that have it."""
    empty: dict[str, str] = {}
    query = "select name, value from registered_model_tags where key = ?"
    return _read(lambda database: dict(database.execute(query, (key,))), empty)


def _read(ask: Callable[[sqlite3.Connection], T], empty: T) -> T | None:
    """`empty` before there is a file."""
    store = backend.own_store()
    if backend.address() != f"sqlite:///{store}":
        return None
    if not store.exists():
        return empty
    try:
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=BUSY)) as database:
            return ask(database)
    except sqlite3.Error:  # tables of another MLflow, or a damaged file: MLflow explains it
        return None


def _versions(database: sqlite3.Connection, name: str | None) -> list[Version]:
    tags: dict[tuple[str, int], dict[str, str]] = {}
    for model, number, key, value in database.execute("select name, version, key, value from model_version_tags"):
        tags.setdefault((model, number), {})[key] = value
    aliases: dict[tuple[str, int], list[str]] = {}
    for model, number, alias in database.execute(
        "select name, version, alias from registered_model_aliases order by alias"
    ):
        aliases.setdefault((model, number), []).append(alias)
    rows = database.execute(
        "select name, version, run_id, creation_time from model_versions where current_stage != 'Deleted_Internal' and "
        "name not in (select name from registered_model_tags where key = 'mlflow.prompt.is_prompt')"
    )
    return [
        Version(
            model,
            number,
            run_id,
            iso_time(created),
            tuple(aliases.get((model, number), [])),
            tags.get((model, number), {}),
        )
        for model, number, run_id, created in rows
        if name in (None, model)
    ]


def _folder(database: sqlite3.Connection, version: Version) -> Path | None:
    """Where our own store has put it, if that is a folder here."""
    source = "select coalesce(storage_location, source) from model_versions where name = ? and version = ?"
    for (where,) in database.execute(source, (version.name, version.version)):
        folder = Path(unquote(urlsplit(where).path))
        if where.startswith("file:///") and folder.is_dir():
            return folder
    return None
