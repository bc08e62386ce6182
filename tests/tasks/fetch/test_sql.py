import os
import re
import shutil
import socket
import subprocess
import threading
import time

import pytest
import sqlalchemy

from retune.errors import Broken, Refused, WrongUse

QUERY = "SELECT id, body, queue, changed FROM tickets WHERE changed >= :cursor"


@pytest.fixture
def engine(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path / 'desk.db'}"
    monkeypatch.setenv("DESK_URL", url)
    sql_engine = sqlalchemy.create_engine(url)
    run(sql_engine, "CREATE TABLE tickets (id INTEGER PRIMARY KEY, body TEXT, queue TEXT, changed TEXT)")
    return sql_engine


@pytest.fixture
def sql_source(engine, define_source):
    return define_source(
        "sql", url_env="DESK_URL", query=QUERY, cursor_column="changed", cursor_type="text", cursor_start="1970-01-01"
    )


def run(engine, words, **values):
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(words), values)


def add(engine, *rows):
    for id_, body, changed in rows:
        values = {"id": id_, "body": body, "changed": changed}
        run(engine, "DELETE FROM tickets WHERE id = :id", id=id_)
        run(engine, "INSERT INTO tickets VALUES (:id, :body, 'x', :changed)", **values)


@pytest.mark.parametrize("compared", [">=", ">"])
def test_what_is_new_or_changed_comes_once(engine, sql_source, fetch_run, batch_ids, compared):
    sql_source["query"] = QUERY.replace(">=", compared)
    add(engine, (1, "a", "2026-01-01"), (2, "b", "2026-01-02"), (3, "c", "2026-01-02"))
    assert batch_ids(fetch_run.one(sql_source)) == [1, 2, 3]
    assert fetch_run.one(sql_source).files == ()
    add(engine, (4, "a tie that came late", "2026-01-02"), (1, "a changed", "2026-01-03"))
    assert sorted(batch_ids(fetch_run.one(sql_source))) == [1, 4]
    assert fetch_run.one(sql_source).files == ()


def test_thousands_of_rows_are_streamed(engine, sql_source, fetch_run, batch_ids):
    with engine.begin() as connection:
        rows = [{"id": number, "changed": f"2026-01-{1 + number % 28:02d}"} for number in range(5000)]
        connection.execute(sqlalchemy.text("INSERT INTO tickets VALUES (:id, 'a', 'x', :changed)"), rows)
    assert sorted(batch_ids(fetch_run.one(sql_source))) == list(range(5000))
    assert fetch_run.one(sql_source).files == ()


def test_more_ties_than_are_remembered_come_again_and_ingest_knows_them(engine, sql_source, fetch_run, batch_ids):
    with engine.begin() as connection:
        rows = [{"id": number} for number in range(1500)]
        connection.execute(sqlalchemy.text("INSERT INTO tickets VALUES (:id, 'a', 'x', '2026-01-01')"), rows)
    assert len(batch_ids(fetch_run.one(sql_source))) == 1500
    batch = fetch_run.one(sql_source)
    assert len(batch_ids(batch)) == 1500
    assert batch.cursor["at"][0]["seen"] == []


def test_numbers_may_be_the_cursor(engine, sql_source, fetch_run, batch_ids):
    sql_source |= {"query": QUERY.replace("changed >=", "id >="), "cursor_column": "id", "cursor_type": "number"}
    sql_source["cursor_start"] = 0
    add(engine, *((number, "a", "") for number in range(8, 12)))
    batch = fetch_run.one(sql_source)
    assert batch_ids(batch) == [8, 9, 10, 11]
    assert [step["value"] for step in batch.cursor["at"]] == [10, 11]
    assert fetch_run.one(sql_source).files == ()


def test_nothing_can_be_changed_and_no_file_is_made(engine, sql_source, fetch_run, tmp_path, monkeypatch):
    add(engine, (1, "a", "2026-01-01"))
    trick = {**sql_source, "query": "WITH t AS (SELECT 1) DELETE FROM tickets WHERE changed >= :cursor"}
    assert isinstance(fetch_run.one(trick).error, Broken | Refused)
    assert len(fetch_run.one(sql_source).files) == 1
    monkeypatch.setenv("DESK_URL", f"sqlite:///{tmp_path / 'other.db'}")
    assert "not there" in str(fetch_run.one(sql_source).error)
    assert not (tmp_path / "other.db").exists()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"query": QUERY.replace("body,", "body AS queue,")}, Refused, "the column 'queue' twice"),
        ({"query": QUERY.replace("body,", "")}, WrongUse, "no column 'body'"),
        ({"cursor_column": "updated"}, WrongUse, "no column 'updated', which params name as cursor_column"),
        ({"query": QUERY.replace("tickets", "tikets")}, Refused, "no such table: tikets"),
        ({"query": QUERY + " AND"}, Refused, "incomplete input"),
        (
            {"cursor_type": "time"},
            Refused,
            "changed holds text ('2026-01-01'), and cursor_type is time: write `cursor_ty",
        ),
        ({"cursor_column": "id"}, Refused, "id is 1, which is no text: set cursor_type to number"),
        ({"cursor_type": "number"}, WrongUse, "cursor_start is '1970-01-01', which is no number"),
        ({"query": QUERY.replace("body,", "x'00' AS body,")}, Refused, "the column 'body' holds b'\\x00'"),
        ({"query": QUERY.replace("changed FROM", "NULL AS changed FROM")}, Refused, "changed has no value"),
        ({"query": QUERY.replace("id,", "NULL AS id,")}, Refused, ": id is empty"),
        ({"query": QUERY.replace("id,", "' ' AS id,")}, Refused, ": id is empty"),
        ({"url_env": "NO_SUCH_URL"}, WrongUse, "no NO_SUCH_URL"),
    ],
)
def test_a_wrong_query_is_turned_down_in_words(engine, sql_source, fetch_run, change, error, message):
    add(engine, (1, "a", "2026-01-01"))
    batch = fetch_run.one({**sql_source, **change})
    assert type(batch.error) is error, batch.error
    assert message in str(batch.error)
    assert (batch.files, batch.cursor) == ((), {})


@pytest.mark.parametrize("address", ["://x:s3cret@y", "hello s3cret", "nosuch://u:s3cret@h/d", "oracle://u:s3cret@h/d"])
def test_an_address_is_never_shown(engine, sql_source, fetch_run, monkeypatch, address):
    monkeypatch.setenv("DESK_URL", address)
    batch = fetch_run.one(sql_source)
    assert isinstance(batch.error, WrongUse)
    assert "s3cret" not in str(batch.error) + "".join(fetch_run.progress)


@pytest.mark.parametrize("kind", ["postgresql", "postgres", "postgresql+psycopg"])
def test_an_address_of_postgresql_need_name_no_driver(engine, sql_source, fetch_run, monkeypatch, kind):
    monkeypatch.setenv("DESK_URL", f"{kind}://desk:s3cret@127.0.0.1:9/desk")
    error = fetch_run.one(sql_source).error
    assert isinstance(error, Broken) and "is it up" in str(error), "asked, and not there"


def test_the_address_that_is_advised_needs_no_other_driver(engine, sql_source, fetch_run, monkeypatch):
    monkeypatch.delenv("DESK_URL")
    error = str(fetch_run.one(sql_source).error)
    advised = re.search(r"export DESK_URL='(.*)'", error)
    monkeypatch.setenv("DESK_URL", advised[1].replace("host", "127.0.0.1:9"))
    assert isinstance(fetch_run.one(sql_source).error, Broken)


def test_a_database_that_is_locked_is_waited_for(engine, sql_source, fetch_run, batch_ids):
    add(engine, (1, "a", "2026-01-01"))
    fetch_run.settings |= {"attempts": 2, "pause_seconds": 0.01}
    holder = engine.connect()
    holder.exec_driver_sql("BEGIN EXCLUSIVE")
    threading.Timer(0.5, holder.close).start()
    assert batch_ids(fetch_run.one(sql_source)) == [1]


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    """The address of a PostgreSQL server of this module's own, which refuses to run as root."""
    pytest.importorskip("psycopg", reason="no driver of PostgreSQL is installed")
    tools = {name: shutil.which(name) for name in ("initdb", "pg_ctl")}
    if not all(tools.values()):
        pytest.skip("initdb and pg_ctl are not installed")
    folder = tmp_path_factory.mktemp("postgres")
    as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    if as_user:
        for each in (folder, *folder.parents[:3]):
            each.chmod(0o755)
        shutil.chown(folder, "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data, options = folder / "data", f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off"

    def command(*words):
        subprocess.run([*as_user, *map(str, words)], cwd=folder, check=True, capture_output=True, timeout=60)

    command(tools["initdb"], "-D", data, "-U", "desk", "-A", "trust", "--no-sync")
    command(tools["pg_ctl"], "-D", data, "-o", options, "-l", folder / "log", "-w", "start")
    try:
        yield f"postgresql+psycopg://desk@127.0.0.1:{port}/postgres"
    finally:
        command(tools["pg_ctl"], "-D", data, "-m", "immediate", "stop")


@pytest.mark.slow
def test_postgresql_is_read_by_time_in_any_zone_and_never_written(
    postgres, define_source, fetch_run, batch_ids, monkeypatch
):
    monkeypatch.setenv("DESK_URL", postgres)
    engine = sqlalchemy.create_engine(postgres)
    run(engine, "CREATE TABLE tickets (id uuid PRIMARY KEY, body text, queue text, price numeric, changed timestamptz)")
    insert = "INSERT INTO tickets SELECT gen_random_uuid(), 'a', 'x', 1.10, CAST(:at AS timestamptz)"
    times = ["2026-01-01 10:00:00+02", "2026-01-01 09:00:00.000001+00", "2026-01-01 09:00:00.000001+00"]
    for at in times:
        run(engine, insert, at=at)
    sql = define_source("sql", url_env="DESK_URL", query=QUERY, cursor_column="changed", cursor_type="time")
    sql["cursor_start"] = "1970-01-01T00:00:00+00:00"
    sql["columns"] = {**sql["columns"], "group": "price"}
    sql["query"] = QUERY.replace("queue,", "queue, price,")
    first = fetch_run.one(sql)
    assert len(batch_ids(first)) == 3
    assert fetch_run.one(sql).files == ()
    run(engine, insert, at=times[-1])
    run(engine, insert, at="2026-01-02 00:00:00+00")
    assert len(batch_ids(fetch_run.one(sql))) == 2
    run(engine, "CREATE FUNCTION take() RETURNS int LANGUAGE sql AS 'DELETE FROM tickets RETURNING 1'")
    trick = {**sql, "query": sql["query"] + " AND take() = 1"}
    assert "read-only transaction" in str(fetch_run.one(trick).error)
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("SELECT count(*) FROM tickets")).scalar() == 5
    fetch_run.settings["timeout_seconds"] = 0.2
    slow = {**sql, "query": sql["query"] + " AND pg_sleep(2) IS NOT NULL"}
    start = time.monotonic()
    assert "statement timeout" in str(fetch_run.one(slow).error)
    assert time.monotonic() - start < 5
    wrong = {**sql, "query": sql["query"].replace("body", "bdy")}
    assert "bdy" in str(fetch_run.one(wrong).error)
    engine.dispose()


@pytest.mark.slow
def test_a_postgresql_that_is_away_is_broken(postgres, define_source, fetch_run, monkeypatch):
    monkeypatch.setenv("DESK_URL", "postgresql+psycopg://desk:s3cret@127.0.0.1:9/postgres")
    sql = define_source("sql", url_env="DESK_URL", query=QUERY, cursor_column="changed", cursor_type="time")
    batch = fetch_run.one({**sql, "cursor_start": "1970-01-01"})
    assert isinstance(batch.error, Broken)
    assert "s3cret" not in str(batch.error) + "".join(fetch_run.progress)
