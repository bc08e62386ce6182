"""Nothing outlives its flow, with real processes and real kills."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from flows.execution import process_guard

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
# A command with a deaf child, a child in a session of its own, and one whose parent has gone already.
FAMILY = """\
import os, subprocess, sys, time
deaf = [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"]
own = subprocess.Popen(deaf, start_new_session=True)
lost = subprocess.run(["sh", "-c", "setsid sleep 600 >/dev/null 2>&1 & echo $!"], capture_output=True, text=True)
print(os.getpid(), subprocess.Popen(deaf).pid, own.pid, lost.stdout.strip(), flush=True)
time.sleep(600)
"""
# A flow that runs one command under a guard; its first line of output is the family.
FLOW = """\
import sys
from flows.execution import dvc
say = lambda line: print(line, flush=True)
dvc.call("family", [sys.executable, "-c", sys.argv[1]], None, dvc.environment(), say)
"""


def run(*words, **more):
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "w"):
        return subprocess.run(
            process_guard.command(reading, list(words)),
            pass_fds=[reading],
            capture_output=True,
            text=True,
            timeout=60,
            **more,
        )


def alive(pids):
    """Those that still work: what was killed and not yet buried does not."""
    processes = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                processes.append(pid)
        except psutil.NoSuchProcess:
            continue
    return processes


def gone_within(pids, seconds):
    until = time.monotonic() + seconds
    while alive(pids) and time.monotonic() < until:
        time.sleep(0.05)
    return alive(pids) == []


@pytest.fixture
def flow():
    """A flow at work, and the numbers of its family."""
    process = subprocess.Popen([sys.executable, "-c", FLOW, FAMILY], stdout=subprocess.PIPE, text=True)
    pids = [int(word) for word in process.stdout.readline().split()]
    assert len(alive(pids)) == 4
    yield process, pids
    process.kill()
    process.communicate()
    for pid in alive(pids):
        psutil.Process(pid).kill()


def test_what_a_command_says_and_its_exit_code_pass_through():
    done = run("sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_command_that_a_signal_ended_ends_its_guard_alike(number):
    assert run("sh", "-c", f"kill -{int(number)} $$").returncode == -number


def test_a_command_that_is_not_there_is_named():
    done = run("no-such-command")
    assert (done.returncode, done.stderr) == (127, "no-such-command cannot be started: No such file or directory\n")


def test_a_pipe_that_nobody_reads_ends_a_command_as_without_a_guard():
    assert run("sh", "-c", "yes | head -n 1").stderr == ""


def test_a_guard_costs_little():
    began = time.monotonic()
    for _ in range(5):
        run("true")
    assert (time.monotonic() - began) / 5 < 0.25, "20 ms on a machine at rest"


def test_kill_9_of_a_flow_ends_its_whole_family(flow):
    process, pids = flow
    process.kill()
    assert gone_within(pids, process_guard.GRACE + 2), "one of them does not listen to SIGTERM, so it takes the grace"


def test_a_family_that_listens_ends_at_once():
    program = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", FLOW, program], stdout=subprocess.PIPE, text=True)
    pid = int(process.stdout.readline())
    process.kill()
    assert gone_within([pid], 1)
    process.communicate()


def test_a_guard_that_is_asked_to_end_ends_its_family(flow):
    process, pids = flow
    (guarding,) = [child for child in psutil.Process(process.pid).children() if "guard.py" in " ".join(child.cmdline())]
    guarding.terminate()
    assert gone_within(pids, process_guard.GRACE + 2)


def test_what_a_command_leaves_running_ends_with_it():
    done = run("sh", "-c", "setsid sleep 600 >/dev/null 2>&1 & echo $!")
    assert gone_within([int(done.stdout)], process_guard.LEFT_BEHIND + 1)


def test_what_a_library_starts_ends_with_the_flow_too():
    program = (
        "import subprocess, time; from flows.execution import process_guard; process_guard.reap_on_exit()\n"
        "print(subprocess.Popen(['setsid', 'sleep', '600']).pid, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    pid = int(process.stdout.readline())
    assert alive([pid])
    process.kill()
    process.communicate()
    assert gone_within([pid], 2)


HEADLESS = """
import ctypes, subprocess, sys, threading, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
threading.Thread(target=time.sleep, args=[60]).start()
print(child.pid, flush=True)
libc = ctypes.CDLL(None)
libc.syscall({"x86_64": 60}.get(__import__("platform").machine(), 93), 0)  # ends this thread alone
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads that outlive the first are seen in /proc")
def test_children_of_a_process_whose_first_thread_has_ended_belong_to_the_family():
    with subprocess.Popen([sys.executable, "-c", HEADLESS], stdout=subprocess.PIPE, text=True) as process:
        child = psutil.Process(int(process.stdout.readline()))
        try:
            for _ in range(100):
                if psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE:
                    break
                time.sleep(0.05)
            assert psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE and child.ppid() == process.pid
            assert child.pid in process_guard._descendants(0)
        finally:
            child.kill()
            process.kill()
