"""Every row exactly once, wherever a crash falls: with the real ingest, and sources that grow while it happens."""

import json
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retune.data import row_table
from tasks.ingest import Columns, Origin, Rules, ingest


class Source:
    """A source of one kind that rows are written to."""

    def __init__(self, kind, folder, define_source, server):
        self.kind, self.folder, self.server, self.rows = kind, folder, server, []
        if kind == "files":
            (folder / "drop").mkdir()
            self.definition = define_source("files", path=str(folder / "drop"))
        elif kind == "http":
            cursor = {"param": "since", "field": "at", "start": None}
            self.definition = define_source("http", url=server.url, cursor=cursor, authorization_env=None)
        else:
            os.environ["EXACTLY_ONCE_URL"] = f"sqlite:///{folder / 'desk.db'}"
            query = "SELECT id, body, queue, at FROM tickets WHERE at >= :cursor"
            more = {"cursor_column": "at", "cursor_type": "text", "cursor_start": ""}
            self.definition = define_source("sql", url_env="EXACTLY_ONCE_URL", query=query, **more)
            self._execute("CREATE TABLE tickets (id TEXT, body TEXT, queue TEXT, at TEXT)")

    def write(self, id_, body, day, file):
        """At a day that may be that of rows before, never an earlier one."""
        row = (id_, body, "x", f"2026-01-{day:02d}")
        self.rows.append(row)
        if self.kind == "files":
            with (self.folder / "drop" / f"{file}.jsonl").open("a") as lines:
                lines.write(json.dumps(dict(zip(("id", "body", "queue"), row, strict=False))) + "\n")
        elif self.kind == "http":
            self.server.add(row)
        else:
            self._execute("INSERT INTO tickets VALUES (?, ?, ?, ?)", row)

    def _execute(self, words, values=()):
        with closing(sqlite3.connect(self.folder / "desk.db")) as connection, connection:
            connection.execute(words, values)


class Project:
    """data/raw and the cursors, committed together: what a crash falls before is as if it had not been."""

    def __init__(self, fetch_run, folder):
        self.work, self.raw, self.committed = fetch_run, folder / "raw", folder / "committed"

    def take_in(self, source, crash):
        batch = self.work.one(source.definition, keep=False)
        assert not batch.error, batch.error
        if crash == "after the fetch":
            return
        for file in batch.files:
            ingest(str(file), self.raw, Columns(**vars(batch.columns)), Rules("classify", 0.0), Origin(batch.source))
        if crash == "before the commit":
            shutil.rmtree(self.raw, ignore_errors=True)
            if self.committed.exists():
                shutil.copytree(self.committed, self.raw)
            return
        if crash != "between rows and cursor":  # worse than what can happen: they are one commit
            self.work.cursors = {batch.source: batch.cursor}
        shutil.rmtree(self.committed, ignore_errors=True)
        if self.raw.exists():
            shutil.copytree(self.raw, self.committed)

    def contents(self):
        return sorted((row["id"], row["text"]) for row in row_table.read(self.raw).to_dict("records"))


CRASHES = [None, "after the fetch", "before the commit", "between rows and cursor"]
WRITES = st.tuples(st.integers(0, 1), st.sampled_from("ab"))  # days that pass, the file
STEPS = st.lists(st.one_of(WRITES, st.sampled_from(CRASHES)), min_size=1, max_size=14)


@contextmanager
def scratch():
    with tempfile.TemporaryDirectory() as folder:
        before = Path.cwd()
        os.chdir(folder)  # ingest keeps its lock below the current folder
        try:
            yield Path(folder)
        finally:
            os.chdir(before)


@pytest.mark.parametrize("kind", ["files", "sql", "http", "http, after the cursor"])
@pytest.mark.parametrize("examples", [8, pytest.param(200, marks=pytest.mark.slow)])
def test_every_row_comes_in_exactly_once_whatever_crashes(
    kind, examples, define_source, open_ticket_server, make_fetch_run
):
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(steps=STEPS)
    def holds(steps):
        with scratch() as folder, open_ticket_server() as ticket_server:
            ticket_server.inclusive, ticket_server.page = kind != "http, after the cursor", 16
            source, project, day = (
                Source(kind.partition(",")[0], folder, define_source, ticket_server),
                Project(make_fetch_run(folder), folder),
                1,
            )
            for number, step in enumerate(steps):
                if isinstance(step, tuple):
                    day += step[0]
                    source.write(f"r{number}", f"words {number % 3}", day, step[1])
                else:
                    project.take_in(source, step)
            if not source.rows:
                return
            project.take_in(source, None)
            assert project.contents() == sorted((id_, body) for id_, body, *_ in source.rows)
            assert project.work.one(source.definition, keep=False).files == ()

    holds()


def test_what_is_corrected_twice_between_two_fetches_comes_in_its_order(
    define_source, ticket_server, fetch_run, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    source = Source("http", tmp_path, define_source, ticket_server)
    for number in range(4):
        source.write("r1", f"words {number}", 1 + number, "a")
    Project(fetch_run, tmp_path).take_in(source, None)
    assert [row["text"] for row in row_table.read(tmp_path / "raw").to_dict("records")] == [
        f"words {n}" for n in range(4)
    ]
