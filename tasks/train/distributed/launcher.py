"""Start a training as several processes, on this host or on several, and end them all when one of them ends badly.

The same command runs in each: `python -m tasks.train ...` finds in its environment that it is one of many. Started by
torch's own launcher (torchrun), which notices a dead process within a second, and never restarts one: a new start goes
on from the newest checkpoint. On several hosts, each starts its own share and says which host it is:

    RETUNE_RENDEZVOUS   HOST:PORT of the first host, where all meet
    RETUNE_NODE_RANK    0 on the first host, where the flow runs, 1 on the next ...
"""

import logging
import os
import signal
import socket
import sys
import uuid
from typing import Any

import torch
import torch.distributed as dist

from retune.config.generation import Parallel
from retune.errors import Broken, WrongUse
from tasks.train.distributed import collectives

RENDEZVOUS, NODE_RANK = "RETUNE_RENDEZVOUS", "RETUNE_NODE_RANK"
PATIENCE = 900  # seconds to wait for the other hosts


def is_launcher(config: Parallel) -> bool:
    """Whether this process has to start others."""
    return config.processes * config.hosts > 1 and not collectives.is_worker()


def check(config: Parallel, accumulate: int, device: torch.device) -> None:
    """Raises WrongUse for a training that these processes cannot share."""
    size = config.processes * config.hosts
    if size > 1 and accumulate % size:
        raise WrongUse(
            f"train.accumulate is {accumulate} batches a step, and there are {size} processes to share them: make it a "
            f"multiple of {size}"
        )
    gpus = torch.cuda.device_count()
    if config.processes > 1 and device.type == "cuda" and config.processes > gpus:
        raise WrongUse(f"train.parallel.processes is {config.processes}, and this machine shows {gpus} GPUs: one each")
    if size == 1 and config.strategy == "fsdp":
        raise WrongUse(
            "train.parallel.strategy is fsdp, with one process: weights are sharded over two or more; raise "
            "train.parallel.processes, or write strategy: ddp"
        )


def launch(config: Parallel) -> None:
    """Run the command of this process in all of them, and wait for their end."""
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    rendezvous = _rendezvous(config)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // config.processes)))
    launch_config = LaunchConfig(
        min_nodes=config.hosts,
        max_nodes=config.hosts,
        nproc_per_node=config.processes,
        max_restarts=0,
        **rendezvous,
    )
    logging.disable(logging.ERROR)  # the launcher's tables; the errors below say what happened
    try:
        elastic_launch(launch_config, sys.executable)("-m", "tasks.train", *sys.argv[1:])
    except dist.DistError as error:
        where = os.environ.get(RENDEZVOUS, "localhost")
        raise Broken(
            f"the {config.hosts} hosts did not meet at {where}: {error}. Is the port free on the first host, and can "
            f"the others reach it? Each waits {PATIENCE // 60} minutes"
        ) from None
    except SignalException as stopped:
        sys.exit(128 + int(stopped.sigval))
    except ChildFailedError as failed:
        number, first = failed.get_first_failure()
        if first.exitcode >= 0:
            sys.exit(first.exitcode)  # it has printed why
        name = signal.Signals(-first.exitcode).name
        size = config.processes * config.hosts
        raise Broken(
            f"process {number + 1} of {size} was ended by {name}, and the others were ended with it; the next start "
            "goes on from the newest checkpoint"
        ) from None
    finally:
        logging.disable(logging.NOTSET)


def _rendezvous(config: Parallel) -> dict[str, Any]:
    if config.hosts == 1:
        return {
            "run_id": uuid.uuid4().hex,
            "rdzv_backend": "c10d",
            "rdzv_endpoint": "localhost:0",
            "local_addr": "localhost",
        }
    where, node = os.environ.get(RENDEZVOUS, ""), os.environ.get(NODE_RANK, "")
    if not where.rpartition(":")[2].isdigit() or not node.isdigit() or int(node) >= config.hosts:
        raise WrongUse(
            f"train.parallel.hosts is {config.hosts}, {RENDEZVOUS} is {where!r} and {NODE_RANK} is {node!r}: set them "
            f"to HOST:PORT of the first host and to this host's number, 0 to {config.hosts - 1}"
        )
    try:
        socket.getaddrinfo(where.rpartition(":")[0], None)
    except OSError as error:
        raise WrongUse(f"{RENDEZVOUS} is {where!r}, and that host is unknown: {error.strerror}") from None
    print(f"host {int(node) + 1} of {config.hosts} meets the others at {where}", flush=True)
    return {
        "run_id": "retune",
        "rdzv_backend": "static",
        "rdzv_endpoint": where,
        "rdzv_configs": {"rank": int(node), "timeout": PATIENCE},
    }
