"""A `retune up` that cannot be done leaves everything as it was."""

import json
import time

import psutil
import pytest


def marked(clone):
    """The processes that carry the mark of this clone's services."""
    processes = []
    for each in psutil.process_iter():
        try:
            if each.environ().get("RETUNE_SERVICE", "").startswith(str(clone.folder)):
                processes.append(each.name())
        except psutil.Error:
            continue
    return processes


@pytest.mark.parametrize("names", [("prefect", "mlflow"), ("mlflow", "postgres"), ("prefect", "postgres")])
def test_one_port_for_two_is_refused_before_anything_starts(own_clone, port, names):
    words = [word for name in names for word in (f"--{name}-port", port)]
    began = time.monotonic()
    done = own_clone.retune("up", "--no-worker", *words)
    assert done.returncode == 2 and f"cannot both use port {port}" in done.stderr, done.stderr
    assert time.monotonic() - began < 20
    assert not (own_clone.folder / ".retune/services/state.json").exists() and marked(own_clone) == []


def test_a_port_that_another_has_had_is_refused_and_may_be_chosen_anew(own_clone, port):
    services = own_clone.folder / ".retune/services"
    services.mkdir(parents=True)
    before = {"folder": str(services), "database": "sqlite", "ports": {"prefect": port, "mlflow": port + 1}}
    (services / "state.json").write_text(json.dumps({**before, "host": "127.0.0.1", "processes": {}}))
    done = own_clone.retune("up", "--no-worker", "--mlflow-port", port)
    assert done.returncode == 2 and f"prefect and mlflow cannot both use port {port}" in done.stderr
    assert json.loads((services / "state.json").read_text())["ports"] == before["ports"]


@pytest.mark.parametrize(
    ("database_before", "database", "message"),
    [
        ("sqlite", "postgres", "docs/how-to/operate/troubleshooting.md (Another database) says how to move it"),
        ("postgres", "sqlite", "cannot move it back into SQLite"),
    ],
)
def test_another_database_than_the_one_that_is_kept_is_refused_with_what_can_be_done(
    own_clone, database_before, database, message
):
    services = own_clone.folder / ".retune/services"
    services.mkdir(parents=True)
    (services / "state.json").write_text(json.dumps({"folder": str(services), "database": database_before}))
    done = own_clone.retune("up", "--no-worker", "--database", database)
    assert done.returncode == 2 and message in done.stderr
    assert "### Another database\n" in (own_clone.folder / "docs/how-to/operate/troubleshooting.md").read_text("utf-8")


@pytest.mark.long
def test_what_a_failed_up_has_started_is_down_and_what_it_chose_is_forgotten(own_clone, port):
    own_clone.retune("models")
    store, services = own_clone.folder / ".retune/mlflow.db", own_clone.folder / ".retune/services"
    whole = store.read_bytes() if store.exists() else None
    store.write_text("no database")
    done = own_clone.retune("up", "--no-worker", "--database", "sqlite", "--prefect-port", port, timeout=400)
    assert done.returncode == 3 and "mlflow did not come up" in done.stderr, done.stdout + done.stderr
    assert "prefect  is down" in done.stdout, "what it had started"
    assert marked(own_clone) == [] and not (services / "state.json").exists()
    store.unlink()
    if whole:
        store.write_bytes(whole)
    try:
        done = own_clone.retune("up", "--no-worker", "--database", "sqlite", timeout=400)
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads((services / "state.json").read_text())["ports"]["prefect"] != port
    finally:
        own_clone.retune("down", timeout=180)
