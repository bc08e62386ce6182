import fcntl
import os
import threading
import time

import pytest

from flows.execution import dvc_lock


@pytest.fixture
def held_lock(scratch_folder):
    dvc_lock.FILE.parent.mkdir(parents=True)
    with dvc_lock.FILE.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def test_a_lock_that_an_editor_holds_is_waited_for(held_lock):
    lines = []
    threading.Timer(0.2, fcntl.flock, (held_lock, fcntl.LOCK_UN)).start()
    began = time.monotonic()
    dvc_lock.wait(10, lines.append)
    assert 0.15 < time.monotonic() - began < 5
    (line,) = lines
    assert line.startswith("waiting for DVC's lock, which process")


def test_a_lock_that_is_held_for_too_long_is_told_with_its_holder(held_lock):
    with pytest.raises(dvc_lock.Held, match=rf"process {os.getpid()} \(`.+`\) has held DVC's lock.*try again"):
        dvc_lock.wait(0, [].append)


def test_a_folder_without_a_lock_is_free(scratch_folder):
    dvc_lock.wait(0, pytest.fail)
