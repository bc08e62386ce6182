"""The thin shell that every stage shares: paths in, files out, one line of JSON when the answer is no.

    if __name__ == "__main__":
        run(main)

`main` names its paths as parameters; the command line gives them in that order. It may leave those out at the end that
have a default.
"""

import inspect
import json
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retune.errors import Broken, RetuneError, WrongUse, to_line
from retune.system import failpoints
from retune.system.files import replace_whole

HEARTBEAT = 30.0  # seconds


def run(main: Callable[..., None]) -> None:
    """Call `main` with the paths of the command line and end the process with the right exit code.

    An error of ours is one line of JSON on stderr, which `flows/execution/dvc.py` reads (`errors.from_line`).
    """
    parameters = inspect.signature(main).parameters
    names, required = list(parameters), [each for each in parameters.values() if each.default is each.empty]
    try:
        if not len(required) <= len(sys.argv) - 1 <= len(names):
            raise WrongUse(f"this stage takes {' '.join(names).upper()}, not {sys.argv[1:]}")
        main(*(Path(argument) for argument in sys.argv[1:]))
        failpoints.point("shell:made")
    except RetuneError as error:
        print(to_line(error), file=sys.stderr, flush=True)
        sys.exit(error.exit_code)
    except Exception:  # Python's own exit code for it is 1, which here means that the answer is no
        traceback.print_exc()
        sys.exit(Broken.exit_code)


def write_json(value: Any, path: Path) -> None:
    """Write `value` whole or not at all, keys in their order, one value a line so that git can show changes."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    with replace_whole(path) as unfinished:
        unfinished.write_text(text + "\n", "utf-8")
        failpoints.point("json:unfinished")


def progress(step: int, of: int, **values: float) -> None:
    """Print one line of progress: read by people in a log, and by the bridge, which feeds bars and MLflow.

    `progress step=120 of=900 train_loss=0.4121 learning_rate=8.1e-05`
    """
    numbers = " ".join(f"{name}={value:.6g}" for name, value in values.items())
    print(f"progress step={step} of={of} {numbers}".rstrip(), flush=True)


class Pace:
    """Prints how far long work has come, how fast it goes and how long it still takes, every `seconds` at most.

    `cleaning: 327,680 of 1,000,000 rows, 8,120 rows/s, 83 s left`
    """

    def __init__(self, work: str, unit: str, total: int, seconds: float = HEARTBEAT) -> None:
        self._work, self._unit, self._total, self._seconds = work, unit, total, seconds
        self._done, self._began = 0, time.monotonic()
        self._next = self._began + seconds

    def add(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if now >= self._next:
            rate = self._done / (now - self._began)
            place = f"{self._work}: {self._done:,} of {self._total:,} {self._unit}"
            print(f"{place}, {rate:,.0f} {self._unit}/s, {(self._total - self._done) / rate:.0f} s left", flush=True)
            self._next = now + self._seconds


@contextmanager
def heartbeat(work: str, seconds: float = HEARTBEAT) -> Iterator[None]:
    """Print that `work` goes on, every `seconds`, around a call that reports nothing itself."""
    began, done = time.monotonic(), threading.Event()

    def beat() -> None:
        while not done.wait(seconds):
            print(f"still {work}, {time.monotonic() - began:.0f} s so far", flush=True)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
