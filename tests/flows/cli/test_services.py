"""The servers are started and stopped for whoever asks, and not for whoever reads what they say."""

import os
import subprocess
import sys

import pytest

SAID_AT_WORK = """\
import sys
from pathlib import Path
from flows.cli import main
from flows.services import up_down


def work(*words):
    words[-1]("half of it is done")
    words[-1]("all of it is done")
    Path("worked").write_text(sys.argv[1])
    sys.exit()


up_down.up = up_down.down = up_down.rotate_passwords = work
main.main()
"""


@pytest.mark.parametrize("name", ["up", "down", "rotate-passwords"])
def test_a_reader_who_has_gone_ends_no_work(clone, name):
    """As `retune up | head -1` does: it took the services down again."""
    reader, closed = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", SAID_AT_WORK, name],
        cwd=clone.folder,
        env=clone.environment(),
        stdout=closed,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    os.close(closed)
    assert (done.returncode, done.stderr) == (0, "")
    worked = clone.folder / "worked"
    assert worked.read_text("utf-8") == name
    worked.unlink()
