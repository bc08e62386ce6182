"""The first pass on a Ray cluster: its workers read, clean and examine the rows. Adapter of Ray.

    RETUNE_RAY_ADDRESS=ray-head:6379 retune run

The parts come in the order of the rows, so the files are those of one machine, bit for bit. All machines of the cluster
see this checkout under the same path, and hold the same versions of its packages.
"""

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retune.data import row_table
from retune.data.row_table import Slice
from retune.errors import Broken, RetuneError
from tasks.curate.first_pass import Examination, examine
from tasks.curate.row_steps import Context, as_received

ADDRESS = "RETUNE_RAY_ADDRESS"
SLICE_ROWS = 65_536  # that a worker reads and examines at once
ANSWERS_WITHIN = 5  # seconds
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_AUTO_CONNECT": "0"}  # no cluster of its own either


def address() -> str | None:
    """Of the cluster, if there is one to use."""
    return os.environ.get(ADDRESS) or None


def examinations(raw: Path, context: Context, steps: Sequence[str], address: str) -> Iterator[Examination]:
    """What `first_pass.examinations` gives of the rows in `raw`. Raises Broken without a cluster at the address."""
    columns, folder = context.facts.columns, raw.absolute()

    def work(row: dict[str, Any]) -> dict[str, Examination | RetuneError]:
        start = row.pop("start")
        batch = row_table.read_slice(folder, Slice(**row), columns)
        try:
            return {"result": examine(as_received(batch, start), context, steps)}
        except RetuneError as error:  # as an exception it would come back as text
            return {"result": error}

    slices = [{"start": start, **vars(each)} for start, each in row_table.slices(folder, SLICE_ROWS)]
    if not slices:
        return
    with _cluster(address) as ray:
        ray.data.DataContext.get_current().execution_options.preserve_order = True
        for row in ray.data.from_items(slices, override_num_blocks=len(slices)).map(work).iter_rows():
            if isinstance(row["result"], RetuneError):
                raise row["result"]
            yield row["result"]


@contextmanager
def _cluster(address: str) -> Iterator[Any]:
    os.environ |= {name: value for name, value in QUIET.items() if name not in os.environ}
    try:
        import ray
        import ray.data
    except ImportError:
        raise Broken(
            f"{ADDRESS} is {address}, and Ray is not installed",
            remedy="pip install -c requirements.lock -e '.[scale]', or unset the variable",
        ) from None
    _require_an_answer(address)
    logging.getLogger("ray").setLevel(logging.ERROR)
    code = {"env_vars": {"PYTHONPATH": str(Path.cwd())}}  # of this checkout, which may be the worktree of a retraining
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, runtime_env=code)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise Broken(f"{ADDRESS}: no Ray cluster answers at {address}: {reason}") from None
    try:
        yield ray
    except ray.exceptions.RayError as error:
        last = str(error).strip().splitlines()[-1]
        raise Broken(f"the Ray cluster at {address} failed: {last}", remedy="its own logs say more") from error
    finally:
        ray.shutdown()


def _require_an_answer(address: str) -> None:
    """Ray itself would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), ANSWERS_WITHIN).close()
    except (OSError, ValueError) as error:
        raise Broken(
            f"{ADDRESS}: no Ray cluster answers at {address}: {error}",
            remedy="name HOST:PORT of its head, start it (`ray start --head`), or unset the variable",
        ) from None
