import subprocess
import sys

import pytest

from retune.errors import Broken
from retune.system.locks import waiting

HOLD = "import sys, filelock\nwith filelock.FileLock(sys.argv[1]):\n  print('held', flush=True)\n  sys.stdin.read()\n"


def test_a_writer_waits_for_another_and_then_says_who_has_not_let_go(tmp_path):
    lock = tmp_path / "state" / "lock"
    lock.parent.mkdir()
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(Broken, match=r"another ingest has held .* for 0.2 s"), waiting(lock, 0.2, "ingest"):
            pass
    finally:
        other.kill()
        other.communicate()
    with waiting(lock, 0.2, "ingest"):  # it goes with its process
        pass


def test_the_folder_of_a_lock_is_made(tmp_path):
    with waiting(tmp_path / "new" / "lock", 1, "forget"):
        assert (tmp_path / "new" / "lock").exists()
