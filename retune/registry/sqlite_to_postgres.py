"""From the SQLite file of a clone into PostgreSQL, once, when its servers come up."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

HOLD_RUNS = ("runs", "registered_models")  # tables that are empty in a registry that nobody has used
MOVED = "mlflow.db.moved"  # what the SQLite file is called afterwards
PATHS = ("artifact_location", "artifact_uri", "source", "storage_location")


def move_store(old: Path, new: str, passfile: Path) -> int:
    """Bring the rows of a SQLite registry into an empty PostgreSQL, all or none. Returns how many; 0 if none were due.

    The artifacts stay where they are: a server that gives out the same folder finds them under its own scheme.
    """
    if not old.exists() or not _rows(old):
        return 0
    from mlflow.store.db.utils import _initialize_tables
    from mlflow.store.model_registry.dbmodels import models  # noqa: F401  (its tables join the metadata)
    from mlflow.store.tracking.dbmodels.models import Base
    from sqlalchemy import create_engine, insert, select

    target = create_engine(new, connect_args={"passfile": str(passfile)})
    _initialize_tables(target)
    moved = 0
    with create_engine(f"sqlite:///{old}").connect() as source, target.begin() as sink:
        tables = Base.metadata.sorted_tables
        if any(sink.execute(select(table).limit(1)).first() for table in tables if table.name in HOLD_RUNS):
            return 0
        for table in reversed(tables):
            sink.execute(table.delete())  # what every new registry holds: a default experiment and the like
        for table in tables:
            rows = [_served(dict(row._mapping), old.parent) for row in source.execute(select(table))]
            moved += len(rows)
            for start in range(0, len(rows), 1000):
                sink.execute(insert(table), rows[start : start + 1000])
            _count_on(sink, table)
    old.rename(old.with_name(MOVED))
    return moved


def _rows(store: Path) -> int:
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as database:
        return sum(database.execute(f"select count(*) from {table}").fetchone()[0] for table in HOLD_RUNS)


def _served(row: dict[str, Any], state: Path) -> dict[str, Any]:
    """The row with artifacts in our own folder named as the server that gives it out names them."""
    root = (state / "artifacts").as_uri()
    for name in PATHS:
        if str(row.get(name) or "").startswith(f"{root}/"):
            row[name] = f"mlflow-artifacts:/{row[name].removeprefix(f'{root}/')}"
    return row


def _count_on(sink: Any, table: Any) -> None:
    """Rows that bring their numbers leave PostgreSQL's counters where they were."""
    from sqlalchemy import text

    for column in table.primary_key.columns:
        names = {"table": table.name, "column": column.name}
        if sink.execute(text("select pg_get_serial_sequence(:table, :column)"), names).scalar():
            last = f"select max({column.name}) from {table.name}"
            sink.execute(text(f"select setval(pg_get_serial_sequence(:table, :column), coalesce(({last}), 1))"), names)
