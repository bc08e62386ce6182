import os
import subprocess
import time

import psutil
import pytest

from flows.services import postgres


@pytest.fixture
def write_lock(tmp_path):
    def write(pid, began):
        path = tmp_path / "postmaster.pid"
        path.write_text(f"{pid}\n{tmp_path}\n{began}\n5433\n", "ascii")
        return path

    return write


def test_the_lock_of_a_server_that_is_at_work_stays(write_lock, tmp_path):
    path = write_lock(os.getpid(), int(psutil.Process().create_time()))
    postgres.drop_stale_lock(tmp_path)
    assert path.exists()


def test_a_lock_whose_number_belongs_to_another_goes(write_lock, tmp_path):
    path = write_lock(os.getpid(), int(time.time()) - 1_000_000)
    postgres.drop_stale_lock(tmp_path)
    assert not path.exists()


def test_the_lock_of_a_server_that_was_killed_and_is_not_buried_yet_goes(write_lock, tmp_path):
    killed = subprocess.Popen(["sleep", "60"])
    path = write_lock(killed.pid, int(psutil.Process(killed.pid).create_time()))
    killed.kill()
    while psutil.Process(killed.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    postgres.drop_stale_lock(tmp_path)
    killed.wait()
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "x\n", "999999999\n\n1\n"])
def test_a_lock_that_names_nobody_goes(tmp_path, text):
    (tmp_path / "postmaster.pid").write_text(text, "ascii")
    postgres.drop_stale_lock(tmp_path)
    assert not (tmp_path / "postmaster.pid").exists()


def test_no_address_holds_a_password():
    assert postgres.address("+psycopg", 5433, "mlflow") == "postgresql+psycopg://retune@127.0.0.1:5433/mlflow"
    assert postgres.pgpass(5433, "secret") == "127.0.0.1:5433:*:retune:secret\n"
