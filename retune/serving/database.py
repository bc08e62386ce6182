"""The database of what was served: requests, feedback, outcomes and rollouts. Adapter of SQLAlchemy.

A SQLite file in `.retune/`, or what RETUNE_SERVING_DATABASE names (PostgreSQL). Each table stands in the module that
writes it, in METADATA; `connect` makes the tables that are missing. A committed row survives a crash of the process
and of the machine: SQLite runs with its write-ahead log, and waits for the disk at each commit.
What is deleted there is overwritten.
"""

import os
from functools import cache
from typing import Any

from sqlalchemy import Engine as Engine
from sqlalchemy import MetaData, NullPool, create_engine, event
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError

from retune.errors import Broken, WrongUse
from retune.registry import backend

ADDRESS = "RETUNE_SERVING_DATABASE"
FILE = "serving.db"
METADATA = MetaData()
AWAY = (OperationalError, InterfaceError)  # it does not answer, or cannot write
FAILS = DBAPIError  # it is away, or damaged
WAIT = 30  # seconds for another process that writes


def address() -> str:
    return os.environ.get(ADDRESS) or f"sqlite:///{backend.state() / FILE}"


def connect(at: str | None = None) -> Engine:
    """The database, with all tables that are imported. at: an address; None: that of `address`.

    Raises WrongUse for an address that SQLAlchemy cannot read, Broken where the database is away or damaged.
    """
    engine = _engine(at or address())
    where = engine.url.render_as_string(hide_password=True)
    try:
        METADATA.create_all(engine)
    except AWAY as error:
        raise Broken(
            f"the database of what was served, {where}, is away: {str(error.orig).splitlines()[0]}",
            remedy=f"start it (`retune up`, if it is this clone's), or let {ADDRESS} name another",
        ) from None
    except DatabaseError as error:
        raise Broken(
            f"the database of what was served, {where}, is damaged: {str(error.orig).splitlines()[0]}",
            remedy="restore a backup of it, or move it away: the next start makes a new one",
        ) from None
    return engine


def find() -> Engine | None:
    """The database; None where nothing was ever served. Raises as `connect` does."""
    return connect() if os.environ.get(ADDRESS) or (backend.state() / FILE).exists() else None


@cache
def _engine(at: str) -> Engine:
    try:
        is_file = at.startswith("sqlite")  # opened anew each time: one that was deleted or damaged must be noticed
        engine = create_engine(at, poolclass=NullPool) if is_file else create_engine(at, pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise WrongUse(f"{ADDRESS} is no address of a database ({type(error).__name__})") from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", f"busy_timeout={WAIT * 1000}"):
        connection.execute(f"PRAGMA {pragma}")
