"""A query through SQLAlchemy: streamed, read only, from where the last fetch ended.

    SELECT id, body, queue, changed FROM tickets WHERE changed >= :cursor

The query must give the cursor's column, and an id: rows at the watermark come again with every fetch, and only an id
tells them from new ones with the same words. The address is in an environment variable, since it holds the password; it
is never shown. Any driver that SQLAlchemy knows will do, if it is installed: Retune brings those of SQLite and
PostgreSQL.
"""

import json
import os
import reprlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy
from sqlalchemy import exc
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import NullPool

from retune.config.sources import DatabaseSource, Fetch
from retune.data.intake_branch import Cursor
from retune.errors import Refused, WrongUse
from retune.system.retry import TransientError
from tasks.fetch.connector import FetchResult, refuse_too_much, require, select_columns, with_retries
from tasks.fetch.watermark import JsonlWriter, Key, order_of, read_watermark

CHUNK = 1000  # rows
PSYCOPG = "postgresql+psycopg"  # the driver that Retune brings
NAMES_NO_DRIVER = ("postgresql", "postgres")  # addresses that SQLAlchemy would take to psycopg2, or not know
PASSES_IN_SQLITE = ("locked", "busy", "unable to open", "disk I/O")  # whatever is wrong it calls operational


def take(
    source: DatabaseSource, fetch_config: Fetch, cursor: Cursor, into: Path, say: Callable[[str], None]
) -> FetchResult:
    engine = _engine(source)
    try:
        return with_retries(lambda: _read(engine, source, fetch_config, cursor, into), fetch_config, say)
    finally:
        engine.dispose()


def _engine(source: DatabaseSource) -> Engine:
    address = os.environ.get(source.url_env, "").strip()
    if not address:
        raise WrongUse(
            f"the environment has no {source.url_env}, which params name as the address of this source:"
            f" export {source.url_env}='{PSYCOPG}://user:password@host/database' where this runs"
        )
    try:
        url = _with_driver(sqlalchemy.make_url(address))
        engine = sqlalchemy.create_engine(url, poolclass=NullPool)
    except (exc.ArgumentError, ValueError):
        raise WrongUse(
            f"{source.url_env} is no address that SQLAlchemy knows: kind://user:password@host/name"
        ) from None
    except ImportError as error:
        raise WrongUse(f"{source.url_env} needs a driver that is not installed ({error}): install it here") from None
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise WrongUse(f"{source.url_env} names an SQLite file that is not there: {url.database}")  # else it were made
    return engine


def _with_driver(url: sqlalchemy.URL) -> sqlalchemy.URL:
    """The address as people write it for PostgreSQL everywhere else, with the driver that is here."""
    return url.set(drivername=PSYCOPG) if url.drivername in NAMES_NO_DRIVER else url


def _read(engine: Engine, source: DatabaseSource, fetch_config: Fetch, cursor: Cursor, into: Path) -> FetchResult:
    """All rows from the watermark on, in one read-only transaction. TransientError: another attempt may help."""
    for leftover in into.iterdir():  # of the attempt before
        leftover.unlink()
    watermark, writer = read_watermark(cursor, ORDERS[source.cursor_type]), JsonlWriter(into)
    since = _bound(source.cursor_start if watermark.lower is None else watermark.lower, source)
    names: list[str] = []
    size = 0
    try:
        with engine.connect() as connection:
            result = _execute(connection, source, since, fetch_config)
            names = list(result.keys())
            _refuse_other_columns(names, source)
            for number, row in enumerate(result.mappings().yield_per(CHUNK), 1):
                value, line = _value(row[source.cursor_column], source), _line(select_columns(row, source.columns))
                where = f"row {number} of the query"
                if watermark.passes(value, line, f"{where}: {source.cursor_column}"):
                    writer.add(row[source.columns.id], line, f"{where}: {source.columns.id}")
                    size += len(line)
                    refuse_too_much(size, fetch_config, "the query")
    except (exc.SQLAlchemyError, OSError) as error:
        raise _explain(error, source, engine.dialect.name) from None
    return FetchResult(writer.close(), writer.rows, watermark.cursor())


def _execute(connection: Connection, source: DatabaseSource, since: Any, fetch_config: Fetch) -> Any:
    backend = connection.dialect.name
    if backend == "sqlite":
        connection.exec_driver_sql("PRAGMA query_only = ON")
    elif backend == "postgresql":
        connection = connection.execution_options(postgresql_readonly=True)
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int(fetch_config.timeout_seconds * 1000)}")
    elif backend in ("mysql", "mariadb"):
        connection.exec_driver_sql("SET SESSION TRANSACTION READ ONLY")
    streamed = connection.execution_options(stream_results=True, max_row_buffer=CHUNK)
    return streamed.execute(sqlalchemy.text(source.query), {"cursor": since})


def _refuse_other_columns(names: list[str], source: DatabaseSource) -> None:
    if duplicates := [name for name in names if names.count(name) > 1]:
        raise Refused(f"the query gives the column {duplicates[0]!r} twice: name them apart with AS")
    if source.cursor_column not in names:
        raise WrongUse(
            f"the query gives no column {source.cursor_column!r}, which params name as cursor_column;"
            f" it gives {', '.join(names[:40])}"
        )
    require(source.columns, names, "the query")


def _explain(error: Exception, source: DatabaseSource, backend: str) -> Exception:
    """Never with the address. SQLAlchemy's own words repeat the query; the driver's say what is wrong."""
    words = str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__]
    message = f"the database of {source.url_env} says: {words[0]}"
    unreachable = isinstance(error, exc.OperationalError | exc.InterfaceError | OSError)
    if unreachable and (backend != "sqlite" or any(sign in words[0] for sign in PASSES_IN_SQLITE)):
        return TransientError(message)
    return Refused(f"{message}. Correct the query, cursor_type or cursor_start of the source")


def _value(value: Any, source: DatabaseSource) -> Any:
    """The cursor of a row in JSON. Raises Refused if it is of another type than params say."""
    if value is None:
        return None
    kinds = {"number": int | float | Decimal, "text": str | UUID, "time": date}[source.cursor_type]
    if not isinstance(value, kinds) or isinstance(value, bool):
        if isinstance(value, str):  # as SQLite keeps times
            raise Refused(
                f"the column {source.cursor_column} holds text ({reprlib.repr(value)}), and cursor_type is"
                f" {source.cursor_type}: write `cursor_type: text` (then :cursor is compared letter by letter), or let"
                " the query CAST it"
            )
        raise Refused(
            f"{source.cursor_column} is {reprlib.repr(value)}, which is no {source.cursor_type}: set cursor_type to"
            " number, text or time as the database has it"
        )
    return _word(value, source.cursor_column)


def _line(row: Mapping[str, Any]) -> str:
    """The row in JSON; numbers that JSON would round, as words."""
    return json.dumps({name: _word(value, name) for name, value in row.items()})


def _word(value: Any, name: str) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, date):  # a datetime is one, too
        return value.isoformat()
    if isinstance(value, float | Decimal | UUID):
        return str(value)
    raise Refused(f"the column {name!r} holds {reprlib.repr(value)}, a {type(value).__name__}: let the query CAST it")


def _bound(value: Any, source: DatabaseSource) -> Any:
    """What `:cursor` stands for in the query. Raises WrongUse if cursor_start is of another type than cursor_type."""
    if source.cursor_type == "text":
        return str(value)
    if source.cursor_type == "time":
        with suppress(ValueError):
            return datetime.fromisoformat(str(value))
    else:
        with suppress(ArithmeticError, ValueError):
            number = Decimal(str(value))
            return int(number) if number == number.to_integral_value() else float(number)
    raise WrongUse(f"cursor_start is {value!r}, which is no {source.cursor_type}: mend it, or cursor_type")


def _by_letter(value: Any) -> Key:
    return "text", str(value)


ORDERS: dict[str, Callable[[Any], Key]] = {"number": order_of, "time": order_of, "text": _by_letter}
