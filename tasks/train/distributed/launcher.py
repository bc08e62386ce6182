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


def wanted(section: Parallel) -> bool:
    """Whether this process is the one that has to start others."""
    return section.processes * section.hosts > 1 and not collectives.is_worker()


def check(section: Parallel, accumulate: int, device: torch.device) -> None:
    """Raises WrongUse for what cannot be spread so."""
    size = section.processes * section.hosts
    if size > 1 and accumulate % size:
        raise WrongUse(
            f"train.accumulate is {accumulate} batches a step, and there are {size} processes to share them: make it a "
            f"multiple of {size}"
        )
    gpus = torch.cuda.device_count()
    if section.processes > 1 and device.type == "cuda" and section.processes > gpus:
        raise WrongUse(f"train.parallel.processes is {section.processes}, and this machine shows {gpus} GPUs: one each")
    if size == 1 and section.strategy == "fsdp":
        raise WrongUse(
            "train.parallel.strategy is fsdp, with one process: weights are spread over two or more; raise "
            "train.parallel.processes, or write strategy: ddp"
        )


def spread(section: Parallel) -> None:
    """Run the command of this process in all of them, and wait for their end."""
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    meeting = _meeting(section)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // section.processes)))
    config = LaunchConfig(
        min_nodes=section.hosts,
        max_nodes=section.hosts,
        nproc_per_node=section.processes,
        max_restarts=0,
        **meeting,
    )
    logging.disable(logging.ERROR)  # the launcher's tables; what happened is said below
    try:
        elastic_launch(config, sys.executable)("-m", "tasks.train", *sys.argv[1:])
    except dist.DistError as error:
        where = os.environ.get(RENDEZVOUS, "localhost")
        raise Broken(
            f"the {section.hosts} hosts did not meet at {where}: {error}. Is the port free on the first host, and can "
            f"the others reach it? Each waits {PATIENCE // 60} minutes"
        ) from None
    except SignalException as asked:
        sys.exit(128 + int(asked.sigval))
    except ChildFailedError as failed:
        number, first = failed.get_first_failure()
        if first.exitcode >= 0:
            sys.exit(first.exitcode)  # it has said why
        name = signal.Signals(-first.exitcode).name
        size = section.processes * section.hosts
        raise Broken(
            f"process {number + 1} of {size} was ended by {name}, and the others were ended with it; the next start "
            "goes on from the newest checkpoint"
        ) from None
    finally:
        logging.disable(logging.NOTSET)


def _meeting(section: Parallel) -> dict[str, Any]:
    if section.hosts == 1:
        return {
            "run_id": uuid.uuid4().hex,
            "rdzv_backend": "c10d",
            "rdzv_endpoint": "localhost:0",
            "local_addr": "localhost",
        }
    where, node = os.environ.get(RENDEZVOUS, ""), os.environ.get(NODE_RANK, "")
    if not where.rpartition(":")[2].isdigit() or not node.isdigit() or int(node) >= section.hosts:
        raise WrongUse(
            f"train.parallel.hosts is {section.hosts}, {RENDEZVOUS} is {where!r} and {NODE_RANK} is {node!r}: set them "
            f"to HOST:PORT of the first host and to this host's number, 0 to {section.hosts - 1}"
        )
    try:
        socket.getaddrinfo(where.rpartition(":")[0], None)
    except OSError as error:
        raise WrongUse(f"{RENDEZVOUS} is {where!r}, and nobody knows that host: {error.strerror}") from None
    print(f"host {int(node) + 1} of {section.hosts} meets the others at {where}", flush=True)
    return {
        "run_id": "retune",
        "rdzv_backend": "static",
        "rdzv_endpoint": where,
        "rdzv_configs": {"rank": int(node), "timeout": PATIENCE},
    }
