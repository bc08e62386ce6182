import re
import socket
import sqlite3
import threading
from contextlib import closing, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import mlflow
import pytest

from retune.errors import Broken, WrongUse
from retune.registry import backend

pytestmark = pytest.mark.usefixtures("sqlite_registry")


def test_the_address_is_below_this_folder_unless_the_environment_says_otherwise(sqlite_registry, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert backend.address() == f"sqlite:///{sqlite_registry}/.retune/mlflow.db"
    assert backend.artifact_root() == f"file://{sqlite_registry}/.retune/artifacts"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert backend.address() == "http://127.0.0.1:5000"
    assert backend.artifact_root() is None


@pytest.mark.parametrize(
    ("uri", "wrong"),
    [
        ("./mlruns", "a folder"),
        ("mlruns", "a folder"),
        ("/srv/mlruns", "a folder"),
        ("file:///srv/mlruns", "a folder"),
        ("sqlite:///mlflow.db", "depends on where one stands"),
        ("sqlite:///./mlflow.db", "depends on where one stands"),
        ("postgresql://db/x", "a database"),
        ("mysql+pymysql://db/x", "a database"),
        ("sqlite://", "depends on where one stands"),
    ],
)
def test_an_address_that_names_no_one_registry_is_refused_with_its_variable(monkeypatch, uri, wrong):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(WrongUse, match=rf"MLFLOW_TRACKING_URI is {re.escape(uri)}, .*{wrong}.*: unset it"):
        backend.address()


@pytest.mark.parametrize("uri", ["sqlite:////srv/mlflow.db", "databricks", "databricks://team", "https://mlflow"])
def test_an_address_that_names_one_registry_is_taken_as_it_is(monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert backend.address() == uri


def test_versions_stand_beside_their_runs_whatever_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///{tmp_path}/other.db")
    try:
        assert backend.opened().get_registry_uri() == backend.address()
    finally:
        mlflow.set_registry_uri(None)


def test_what_goes_wrong_while_opening_early_is_told_to_who_asks_and_not_printed(monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "carrier-pigeon://loft")
    backend.open_early().join()
    assert capfd.readouterr().err == ""
    with pytest.raises(Exception, match="carrier-pigeon"):
        backend.client()


@pytest.mark.parametrize(("status", "away"), [(200, False), (404, False), (401, False), (503, True), (500, True)])
def test_a_server_that_answers_but_has_no_database_is_away(monkeypatch, status, away):
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            requests.append(self.path)
            self.send_response(status)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_address[1]}")
        with pytest.raises(Broken, match=f"it answers {status}") if away else nullcontext():
            backend.opened()
            backend.opened()
        server.shutdown()
    assert len(requests) == 1, "asked once in a process"


def test_a_server_that_says_nothing_is_away(monkeypatch):
    monkeypatch.setattr(backend, "ANSWERS_WITHIN", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(Broken, match=r"is away \(.*timed out|is away \(.*timeout"):
            backend.opened()


def test_who_asks_while_the_registry_opens_waits_for_its_tables(tmp_path, start_program):
    program = "from retune.registry import backend, versions; backend.open_early(); print(versions.versions())"
    output, _ = start_program(program, tmp_path).communicate()
    assert output == "[]\n"


def test_the_tables_made_in_memory_are_those_that_mlflow_makes_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    backend.client()
    ours, expected = tmp_path / backend.STATE / "mlflow.db", tmp_path / "theirs.db"
    mlflow.MlflowClient(f"sqlite:///{expected}").search_experiments()
    assert schema(ours) == schema(expected)
    assert sorted(path.name for path in ours.parent.iterdir()) == ["mlflow.db", "scratch"]
    assert list((ours.parent / "scratch").iterdir()) == []


def schema(file):
    """Tables and indexes by their words: SQLAlchemy writes constraints in an order that changes from run to run."""
    with closing(sqlite3.connect(file)) as database:
        rows = database.execute("select type, name, sql from sqlite_master order by 1, 2").fetchall()
        version = database.execute("select version_num from alembic_version").fetchall()
        return [(kind, name, sorted(re.findall(r"\w+", sql or ""))) for kind, name, sql in rows], version


def test_a_store_that_another_process_made_meanwhile_stays(tmp_path):
    backend._make_tables(tmp_path / "mlflow.db")
    before = (tmp_path / "mlflow.db").stat()
    backend._make_tables(tmp_path / "mlflow.db")
    assert (tmp_path / "mlflow.db").stat().st_ino == before.st_ino
