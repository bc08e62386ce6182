import signal
import socket
import time

import psutil
import pytest


@pytest.mark.slow
def test_the_ui_shows_our_store_and_ends_with_ctrl_c(clone, port, wait_for_server):
    process = clone.start("ui", "--port", port)
    try:
        wait_for_server(f"http://127.0.0.1:{port}/health", process)
        assert process.stdout.readline().startswith(f"MLflow UI of sqlite:///{clone.folder}/.retune/mlflow.db")
        assert f"http://127.0.0.1:{port}" in process.stdout.readline()
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        process.wait(120)  # most of it is Python ending itself, which takes long where others are at work
        until = time.monotonic() + 20
        while (survivors := [member for member in family if works(member)]) and time.monotonic() < until:
            time.sleep(0.2)
        assert survivors == []
    finally:
        for member in (
            [*psutil.Process(process.pid).children(recursive=True), process] if process.poll() is None else []
        ):
            member.kill()
        process.stdout.close()
    assert not (clone.folder / "mlruns").exists()


def works(member):
    """Whether a process still works: what has ended and is not yet buried does not."""
    try:
        return member.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_port_that_is_taken_is_wrong_use(clone):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        done = clone.retune("ui", "--port", listener.getsockname()[1])
    assert done.returncode == 2
    assert "is taken" in done.stderr and "--port" in done.stderr


def test_a_server_of_somebody_elses_is_only_named(clone):
    elsewhere = type(clone)(clone.folder, {"MLFLOW_TRACKING_URI": "https://mlflow.example.com"})
    began = time.monotonic()
    done = elsewhere.retune("ui")
    assert done.returncode == 0
    assert done.stdout == "MLflow is at https://mlflow.example.com\n"
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("port", ["0", "-1", "70000"])
def test_a_port_that_cannot_be_is_wrong_use(clone, port):
    done = clone.retune("ui", "--port", port)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
