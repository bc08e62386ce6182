"""The bridge: run DVC from a flow. The only place that starts it.

A stage runs under a guard (`flows/execution/process_guard.py`) in a session of its own: the flow process never imports
torch, the GPU is free as soon as the stage exits, and the trainer ends with the flow, however that ends (SIGTERM to
`dvc repro` alone would leave it alive).
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from flows.execution import dvc_lock, process_guard
from retune.errors import Broken, RetuneError, from_line
from retune.system import dvc_pipeline, git

Say = Callable[[str], None]
OnProgress = Callable[[int, int, dict[str, float]], None]

BRIEFLY = 20  # seconds to wait for a DVC command of somebody else's, as for one of ours
AFTER_HOURS = 600  # the same where hours of training would be lost
LAST_LINES = 15  # of a failed stage, part of the error
PATIENCE = (
    process_guard.GRACE + process_guard.STUCK + 6
)  # seconds to wait for a guard that ends its family, on a busy machine too
# DVC's advice on the terminal, after every stage.
NOISE = re.compile(
    r"didn't change, skipping$|are up to date\.$|lock file"
    r"|To track the changes|\tgit add|auto staging|\tdvc config|`dvc push`"
)
DVC = (sys.executable, "-m", "dvc")


def run(name: str, say: Say = print, on_progress: OnProgress = lambda *_: None, force: bool = False) -> bool:
    """Run one stage by name if anything that it depends on has changed, or by force. Returns whether it ran.

    `say` gets its lines as they come; `on_progress` gets its steps. Raises the stage's own error if it gave
    one, Broken with its last lines otherwise.
    """
    dvc_lock.wait(AFTER_HOURS, say)
    lines = _stream(
        name, [*DVC, dvc_lock.WAIT, "repro", "--single-item", *(["--force"] if force else []), name], say, on_progress
    )
    return any(line.startswith("Running stage") for line in lines)


def score(model_folder: Path, rows: Path, out: Path, say: Say = print) -> None:
    """Score any model folder on any rows with the command of the evaluate stage, outside the pipeline."""
    command = [sys.executable, "-m", "tasks.evaluate", str(model_folder), str(rows), str(out)]
    _stream("evaluate", command, say, lambda *_: None)


def measure(candidate: Path, champion: Path, rows: Path, out: Path, say: Say = print) -> None:
    """Time two model folders beside each other, in a process of their own.

    On one thread: where other work shares the cores, threads wait for each other and a text takes many times as
    long, for both models alike.
    """
    command = [sys.executable, "-m", "tasks.latency", *map(str, (candidate, champion, rows, out))]
    _stream("measure", command, say, lambda *_: None, env={**environment(), "OMP_NUM_THREADS": "1"})


def rebuild(python: Path, folder: Path, env: dict[str, str], say: Say = print) -> None:
    """Run every stage of the pipeline in another folder by force, with an interpreter of its choice.

    Nothing is fetched, and no earlier run of a stage is taken for this one. `say` gets the steps of the stages too.
    """
    dvc = [str(python), "-m", "dvc"]
    call("reproduce", [*dvc, "checkout", "--quiet", "data/raw.dvc"], folder, env, say)
    _stream("reproduce", [*dvc, "repro", "--force", "--no-run-cache"], say, progress_in_words(say), folder, env)


def progress_in_words(say: Say) -> OnProgress:
    """Says each step that a stage reports, for whoever draws no bar."""

    def say_step(step: int, of: int, values: dict[str, float]) -> None:
        say(" ".join([f"step {step} of {of}", *(f"{name}={value:.4g}" for name, value in values.items())]))

    return say_step


def call(name: str, command: list[str], folder: Path, env: dict[str, str], say: Say = print) -> list[str]:
    """Run any command in another folder like a stage: it ends with all its children if this process does."""
    return _stream(name, command, say, lambda *_: None, folder, env)


def _stream(
    name: str,
    command: list[str],
    say: Say,
    on_progress: OnProgress,
    folder: Path | None = None,
    env: dict[str, str] | None = None,
) -> list[str]:
    """Run a command, pass its lines on as they come, and return them without those of progress."""
    lines: list[str] = []
    reported: RetuneError | None = None
    with _process(command, folder, env or environment()) as process:
        assert process.stdout
        for line in process.stdout:
            line = line.rstrip("\n")
            if step := parse_progress(line):
                on_progress(*step)
            elif error := from_line(line):
                reported = reported or error
                say(f"{type(error).__name__}: {error}")
            elif line.strip() and not NOISE.search(line):
                lines.append(line)
                say(line)
        code = process.wait()
    if code and reported:
        message = f"{name}: {reported.message}"
        raise type(reported)(message, remedy=reported.remedy, paths=reported.paths)
    if code:
        raise Broken(f"the stage {name} failed; its last lines:\n  " + "\n  ".join(lines[-LAST_LINES:]))
    return lines


def parse_progress(line: str) -> tuple[int, int, dict[str, float]] | None:
    """What `retune.system.stage_io.progress` printed, or None for any other line."""
    if not re.match(r"progress step=\d+ of=\d+", line):
        return None
    values = dict(word.split("=", 1) for word in line.split()[1:])
    step, of = int(values.pop("step")), int(values.pop("of"))
    return step, of, {name: float(value) for name, value in values.items()}


def track(path: str) -> None:
    """Put a file or folder under DVC, which stores its bytes and records its hash."""
    _dvc("add", path)


def checkout(*targets: str) -> None:
    """Check out the bytes that these .dvc files name, from the cache or else from the remote."""
    try:
        _dvc("checkout", "--quiet", "--force", *targets)
    except Broken:
        _dvc("pull", "--quiet", "--force", *targets)


def checkout_cached(*targets: str) -> None:
    """Check out the bytes that these .dvc files name from the cache. Nothing that DVC does not keep is overwritten."""
    _dvc("checkout", "--quiet", *targets)


def fetch(*targets: str) -> None:
    """Bring the bytes that these .dvc files name into the cache, as far as it lacks them."""
    _dvc("fetch", "--quiet", *targets)


def push(*targets: str) -> None:
    """Push the bytes that dvc.lock and data/raw.dvc name, or only those of `targets`, to the DVC remote."""
    _dvc("push", *targets, patience=AFTER_HOURS)  # with --quiet it would not say why it failed


def status(patience: float = BRIEFLY) -> dict[str, Any]:
    """What DVC says has changed, stage by stage; an unchanged stage is not named. Waits for another DVC command."""
    changes: dict[str, Any] = json.loads(_dvc("status", "--json", patience=patience))
    return changes


def changes(path: Path) -> dict[str, str]:
    """path -> added, modified or deleted, of each file in a tracked folder that differs from what DVC recorded."""
    report = json.loads(_dvc("data", "status", "--granular", "--json")).get("uncommitted", {})
    kinds = {kind: names for kind, names in report.items() if isinstance(names, list)}
    inside = f"{path}/"
    return {name: kind for kind, names in kinds.items() for name in names if name.startswith(inside) and name != inside}


def save_record(name: str) -> str:
    """Save the workspace, dirty or not, as an experiment commit that touches no branch. Returns its hash.

    What `dvc exp list` shows, written by git alone with an index of its own. `dvc exp save` takes the user's edits out
    of the workspace, detaches HEAD and puts both back: killed in between, it would leave neither.
    """
    outs = [
        out for entry in dvc_pipeline.pipeline().values() for kind in ("outs", "metrics") for out in entry.get(kind, [])
    ]
    paths = [next(iter(out)) for out in outs if isinstance(out, dict)]  # {path: {cache: false}}: kept by git
    paths = [path for path in [*paths, "dvc.lock", "data/raw.dvc"] if Path(path).exists()]
    head = git.output("rev-parse", "HEAD")
    with tempfile.TemporaryDirectory() as scratch:
        index = Path(scratch) / "index"
        shutil.copy(git.output("rev-parse", "--git-path", "index"), index)
        env = {**os.environ, "GIT_INDEX_FILE": str(index)}
        git.run("add", "--update", ":/", env=env)
        git.run("add", "--force", "--", *paths, env=env)
        tree = git.output("write-tree", env=env)
    ref = f"refs/exps/{head[:2]}/{head[2:]}/{name}"
    record = git.output("rev-parse", "--quiet", "--verify", ref, check=False)
    if record and git.output("rev-parse", f"{ref}^{{tree}}") == tree:
        return record
    commit = git.commit_tree(tree, [head], f"dvc: commit experiment {tree}")
    git.run("update-ref", ref, commit)
    return commit


def _dvc(*arguments: str, patience: float = BRIEFLY) -> str:
    dvc_lock.wait(patience, lambda line: print(line, file=sys.stderr, flush=True))
    command = [*DVC, dvc_lock.WAIT, *arguments]
    with _process(command, None, environment(), subprocess.PIPE) as process:
        output, complaint = process.communicate()
    if process.returncode:
        raise Broken(f"dvc {' '.join(arguments[:2])} failed: {complaint.strip() or output.strip()}")
    return output


def environment(python: Path = Path(sys.executable)) -> dict[str, str]:
    """The caller's environment with this interpreter first on the path, no telemetry, and plain UTF-8 output."""
    overrides = {
        "PATH": os.pathsep.join([str(python.parent), os.environ.get("PATH", "")]),
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
        "DVC_NO_ANALYTICS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    return {**os.environ, **overrides}


@contextmanager
def _process(
    command: list[str], folder: Path | None, env: dict[str, str], stderr: int = subprocess.STDOUT
) -> Iterator[subprocess.Popen[str]]:
    """A process under a guard: it ends with all its children when this block or this process ends."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb"), os.fdopen(writing, "wb") as lifeline:
        process = subprocess.Popen(
            process_guard.command(reading, command),
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=stderr,
            stdin=subprocess.DEVNULL,
            text=True,
            env=env,
            start_new_session=True,
            pass_fds=[reading],
        )
        with process:
            try:
                yield process
            finally:
                lifeline.close()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(PATIENCE)
                process.kill()  # a guard that could not end its family in time; no one else, once it was waited for
