"""Nothing outlives its flow: a tiny process between a flow and each of its commands, which ends the command's whole
family when the flow has died, however it died.

    flow ──► guard ──► dvc ──► shell ──► trainer        `kill -9` of the flow: all gone within a second or two

The guard holds the reading end of a pipe, the flow the only writing end. End-of-file means that the flow has gone or
wants an end: SIGTERM to the family, GRACE seconds, SIGKILL. Exit code and output of the command pass through. What
the command leaves running when it ends by itself is ended too.

Who belongs to the family: on Linux every descendant, also one that made a session of its own and whose parent has
gone (the guard is their subreaper); elsewhere the command's process group. Started with `-I -S` and nothing but a few
built-in modules, in some 20 ms. Not covered: `kill -9` of the guard itself; the command then goes on to its end, and
the stage counts as failed.

`beside` is the same for children that a library starts without asking us, such as Prefect's temporary server: it
ends every process whose environment carries this flow's mark (Linux only).
"""

import os
import select
import signal
import sys
import time
from collections.abc import Callable

GRACE = 2.0  # seconds between asking processes to end and killing them
LEFT_BEHIND = 1.0  # the same for processes that a command left running
STUCK = 2.0  # seconds to wait for killed processes: one that waits for a disk cannot die
MARK = "RETUNE_FLOW"  # in the environment of all that a flow starts
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER in linux/prctl.h

Descendants = Callable[[], set[int]]


def command(lifeline: int, words: list[str]) -> list[str]:
    """The command line that runs `words` under a guard. `lifeline`: the reading end, to be passed on."""
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), "run", str(lifeline), *words]  # noqa: PTH100


def reap_on_exit() -> None:
    """End every process that this one starts from here on, which carry its mark, once this one has ended."""
    import subprocess
    import uuid

    mark = os.environ[MARK] = uuid.uuid4().hex
    reading, _ = os.pipe()  # the writing end stays open until this process ends
    words = [sys.executable, "-I", "-S", os.path.abspath(__file__), "beside", str(reading), mark]  # noqa: PTH100
    quiet = {name: value for name, value in os.environ.items() if name != MARK}
    subprocess.Popen(words, pass_fds=[reading], stdin=subprocess.DEVNULL, start_new_session=True, env=quiet)
    os.close(reading)


def run(lifeline: int, words: list[str]) -> int:
    """Run the command until it or the flow ends. Returns its status as `waitpid` gives it."""
    wake = _listen()
    _adopt_orphans()
    leader = _start(words)
    ended: dict[int, int] = {}
    while leader not in ended and not _must_end(lifeline, wake):
        ended |= _reap_children()
    grace = LEFT_BEHIND if leader in ended else GRACE
    ended |= _end(lambda: _descendants(leader), grace)
    return ended.get(leader, signal.SIGKILL)


def watch(lifeline: int, mark: str) -> None:
    """Wait until the flow ends, then end every process that carries its mark."""
    for number in ENDING:  # it ends when the flow does, not before
        signal.signal(number, signal.SIG_IGN)
    while os.read(lifeline, 512):
        pass
    _end(lambda: _find_marked(mark), GRACE)


def _listen() -> int:
    """A descriptor that yields the numbers of signals: a child ended, or somebody asked this process to end."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    for number in (signal.SIGCHLD, *ENDING):
        signal.signal(number, lambda *_: None)
    return reading


def _must_end(lifeline: int, wake: int) -> bool:
    """Wait until something happens. Whether it is the end of the flow, or a signal that asks for the end."""
    ready, _, _ = select.select([lifeline, wake], [], [])
    requests = wake in ready and set(os.read(wake, 512)) & set(ENDING)
    return bool(requests) or (lifeline in ready and not os.read(lifeline, 512))


def _adopt_orphans() -> None:
    """Make orphaned descendants children of this process, rather than of the first process of the machine."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)


def _start(words: list[str]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, and would hand down
            signal.signal(number, signal.SIG_DFL)
        os.execvp(words[0], words)
    except OSError as error:
        os.write(2, f"{words[0]} cannot be started: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _reap_children() -> dict[int, int]:
    """pid -> status of the children that have ended."""
    ended = {}
    try:
        while (result := os.waitpid(-1, os.WNOHANG))[0]:
            ended[result[0]] = result[1]
    except ChildProcessError:
        pass
    return ended


def _end(family: Descendants, grace: float) -> dict[int, int]:
    """Send SIGTERM to all once, and SIGKILL to those that are left after `grace` seconds. Returns those it reaped."""
    ended: dict[int, int] = {}
    recipients: set[int] = set()
    began = time.monotonic()
    while True:
        ended |= _reap_children()
        alive, waited = family(), time.monotonic() - began
        if not alive or waited > grace + STUCK:
            return ended
        if waited >= grace:
            _send(alive, signal.SIGKILL)
        else:
            _send(alive - recipients, signal.SIGTERM)
            recipients |= alive
        time.sleep(0.02)


def _send(processes: set[int], number: int) -> None:
    for process in processes:
        try:
            (os.killpg if process < 0 else os.kill)(abs(process), number)
        except (ProcessLookupError, PermissionError):
            continue


def _descendants(leader: int) -> set[int]:
    """Every living descendant of this process; where there is no /proc, the leader's group as a negative number."""
    processes = _processes()
    if processes is None:
        try:
            os.killpg(leader, 0)
        except (ProcessLookupError, PermissionError):
            return set()
        return {-leader}
    descendants: set[int] = set()
    near = {os.getpid()}
    while near:
        near = {process for process, (parent, _) in processes.items() if parent in near} - descendants
        descendants |= near
    return {process for process in descendants if processes[process][1]}


def _processes() -> dict[int, tuple[int, bool]] | None:
    """process -> its parent, and whether it lives; None on a system without /proc.

    What has ended counts as a parent: a process whose first thread ended before the others still has its children.
    """
    if not os.path.isdir("/proc/self"):  # noqa: PTH112
        return None
    processes = {}
    for process in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208
        try:
            with open(f"/proc/{process}/stat", "rb") as file:  # noqa: PTH123
                state, parent = file.read().rpartition(b") ")[2].split()[:2]
        except OSError:  # it has ended since
            continue
        processes[int(process)] = int(parent), state not in (b"Z", b"X")
    return processes


def _find_marked(mark: str) -> set[int]:
    entry, processes = f"{MARK}={mark}".encode(), set()
    for process in _processes() or {}:
        try:
            with open(f"/proc/{process}/environ", "rb") as file:  # noqa: PTH123
                if entry in file.read().split(b"\0"):
                    processes.add(process)
        except OSError:
            continue
    return processes


def _leave(status: int) -> None:
    """End as the command did: with its exit code, or by the signal that ended it."""
    if not os.WIFSIGNALED(status):
        os._exit(os.waitstatus_to_exitcode(status))
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # its own dump is enough
    if os.WTERMSIG(status) != signal.SIGKILL:
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
    os.kill(os.getpid(), os.WTERMSIG(status))


def main() -> None:
    mode, lifeline = sys.argv[1], int(sys.argv[2])
    os.set_inheritable(lifeline, False)
    if mode == "beside":
        watch(lifeline, sys.argv[3])
    else:
        _leave(run(lifeline, sys.argv[3:]))


if __name__ == "__main__":
    main()
