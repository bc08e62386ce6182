"""A registered version as a stranger loads it: in a clean process, by MLflow alone."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd

from retune.errors import Broken
from retune.registry.backend import QUIET, address, scratch
from retune.registry.versions import Version

# What takes seconds is done while the question is awaited. Standard input that closes without one ends it, at once.
RELOAD = """
import os, sys, threading
requests = []
listening = threading.Thread(target=lambda: requests.append(sys.stdin.read() or os._exit(0)), daemon=True)
listening.start()
import json, pandas, peft, mlflow.pyfunc
mlflow.MlflowClient()
listening.join()
uri, texts = json.loads(requests[0])
predictions = mlflow.pyfunc.load_model(uri).predict(pandas.DataFrame({"text": texts}))
json.dump(predictions.to_dict("list"), sys.stdout)
"""

Reader = subprocess.Popen[str]


@contextmanager
def clean_process() -> Iterator[Reader]:
    """A new process in an empty folder, without pickle, that will load one version by MLflow alone.

    Begun early, it imports while others work, then waits for `predict_in_clean_process` to ask. It ends with this
    block; and with its standard input, so it does not outlive a killed parent.
    -B: it writes no bytecode beside the code that the version carries, so the artifact stays as it was logged.
    """
    with scratch() as elsewhere:
        process = subprocess.Popen(
            [sys.executable, "-I", "-B", "-c", RELOAD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=elsewhere,
            # MLflow downloads what a server keeps into the folder for temporary files, and leaves it there.
            env={**os.environ, **QUIET, "MLFLOW_TRACKING_URI": address(), "TMPDIR": elsewhere},
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def predict_in_clean_process(reader: Reader, version: Version, texts: list[str]) -> pd.DataFrame:
    """What the registered version says, loaded in a process of `clean_process`, which answers once."""
    answers, complaint = reader.communicate(json.dumps([version.uri, texts]))
    if reader.returncode:
        why = complaint.strip().rpartition("\n")[2]  # of a traceback, the line that says it
        raise Broken(f"{version} does not load in a clean process: {why}")
    return pd.DataFrame(json.loads(answers))
