"""What is acknowledged survives a kill; tests/tasks/serve/test_feedback_routes.py has the rest."""

import signal
import subprocess
import sys
import textwrap

import pytest

from retune.serving import feedback
from tests.support import served
from tests.support.environment import ROOT

SAYING = textwrap.dedent(
    """
    import sys, threading
    from retune.serving.feedback import Feedback
    from retune.serving.kept_text import text_policy
    from retune.serving.quarantine import Quarantine
    from tests.support import served
    from tests.support.personal_data import PII
    from pathlib import Path

    quarantine = Quarantine(served.database_in(Path(sys.argv[1])), 10**6, text_policy("redacted", PII))

    def say(thread):
        for number in range(10**6):
            piece, _ = quarantine.take(Feedback("r0", number, f"person {thread}", 0.0, note="no"))
            sys.stdout.write(piece.id + "\\n")
            sys.stdout.flush()

    for thread in range(4):
        threading.Thread(target=say, args=(thread,), daemon=True).start()
    threading.Event().wait()
    """
)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 50, 400])
def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path, count):
    served.database_in(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", SAYING, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as server:
        acknowledged = {server.stdout.readline().strip() for _ in range(count)}
        server.send_signal(signal.SIGKILL)
        acknowledged |= {line.strip() for line in server.stdout if len(line) == 33}
    pieces = {piece.id for each in feedback.of_answers(served.database_in(tmp_path)).values() for piece in each}
    assert len(acknowledged) >= count and acknowledged <= pieces
