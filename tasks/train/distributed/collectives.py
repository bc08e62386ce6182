"""One training spread over processes: a GPU each, or a share of the processor's cores.

Every process holds the same plan and takes its turns of each step's batches. A step's gradients are sums, and are added
up over all processes, so the step is the one that a single process would make, but for the order of the sums. What is
spread is told by `train.parallel.strategy`:

    ddp    data parallel: every process holds the whole network
    fsdp   fully sharded (FSDP2, Zhao et al. 2023): every process holds a part of each weight of the base, or, where all
           learns, of everything; a layer is whole only while it computes. Adapters are small, and whole everywhere

Alone, none of this does anything. `tasks.train.distributed.launcher` starts the processes.
"""

import ctypes
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor

from retune.config.generation import Parallel
from retune.errors import RetuneError
from retune.models import decoder
from tasks.train.checkpoint import Checkpoint, Checkpoints, Tensors

PATIENCE = timedelta(hours=1)  # with the slowest process; one that has died is noticed by the launcher, at once
UNHEARD = 5.0  # seconds that a process waits with its own complaint when another has one to make
BUCKET = 2**26  # numbers that are added up at once
PARENT_DIES = 1  # PR_SET_PDEATHSIG in linux/prctl.h


def is_worker() -> bool:
    """Whether this process was started as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Meet the other processes for this block. Only the first one speaks; alone, nothing happens."""
    if not is_worker():
        yield
        return
    _end_with_the_launcher()
    gpu = None
    if device.type == "cuda":
        gpu = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(gpu)
    dist.init_process_group("nccl" if gpu else "gloo", timeout=PATIENCE, device_id=gpu)
    try:
        with _only_first_prints():
            yield
            dist.barrier()
    except Exception as error:
        # What all complain of is said once, and what one has died of, the launcher says: it ends the others meanwhile.
        if rank() or not isinstance(error, RetuneError):
            time.sleep(UNHEARD)
        raise
    dist.destroy_process_group()


@contextmanager
def _only_first_prints() -> Iterator[None]:
    if not rank():
        yield
        return
    with Path(os.devnull).open("w") as nobody, redirect_stdout(nobody):
        yield


def _end_with_the_launcher() -> None:
    """At once when it asks, and when it was ended by `kill -9`: no GPU is left to a process that nobody waits for."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DIES, signal.SIGKILL, 0, 0, 0)


def local_batches(batches: Sequence[Any]) -> Iterator[tuple[int, Any, bool]]:
    """The batches of this process: the number of each in the step, and whether it counts.

    All processes take equally many turns, since they meet in each; where one has none left it takes the first batch
    again, not to count.
    """
    for turn in range(math.ceil(len(batches) / world_size())):
        number = turn * world_size() + rank()
        counts = number < len(batches)
        yield (number if counts else 0), batches[number if counts else 0], counts


def all_reduce_sum(value: torch.Tensor) -> torch.Tensor:
    """The sum of what each process holds."""
    if world_size() > 1:
        dist.all_reduce(value)
    return value


def broadcast_flag(flag: bool, device: torch.device) -> bool:
    """The flag of the first process, for all."""
    return bool(all_reduce_sum(torch.tensor(float(flag and not rank()), device=device)).item())


def all_reduce_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """In place, of the parameters that are whole everywhere; those in parts FSDP has added up already.

    Sums, where torch's DistributedDataParallel takes the mean of means, which is wrong for batches that hold unlike
    numbers of supervised tokens.
    """
    if world_size() == 1:
        return
    for bucket in _buckets([parameter for parameter in parameters if not isinstance(parameter, DTensor)]):
        grads = [torch.zeros_like(each) if each.grad is None else each.grad for each in bucket]
        flat = all_reduce_sum(torch.cat([grad.view(-1) for grad in grads]))
        for parameter, grad in zip(bucket, torch.split(flat, [each.numel() for each in bucket]), strict=True):
            parameter.grad = grad.view_as(parameter)


def _buckets(parameters: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        numbers = sum(each.numel() for each in bucket) + parameter.numel()
        if bucket and (parameter.dtype != bucket[0].dtype or numbers > BUCKET):
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket


def clip(parameters: Iterable[nn.Parameter], max_norm: float) -> torch.Tensor:
    """The gradients together to a norm of at most `max_norm`, whole or in parts; returns the norm before."""
    members = list(parameters)
    norm = nn.utils.get_total_norm([each.grad for each in members if each.grad is not None])
    total_norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
    nn.utils.clip_grads_with_norm_(members, max_norm, total_norm)
    return total_norm


def loaded_as(config: Parallel, precision: str, device: torch.device) -> tuple[str, torch.device]:
    """What weights come into memory as, and where. Those that no device holds whole, the processor does."""
    if config.strategy == "ddp":
        return precision, device
    return "bf16" if decoder.weight_dtype(precision, device) == torch.bfloat16 else "fp32", torch.device("cpu")


def shard(network: nn.Module, layers: Sequence[nn.Module], dtype: torch.dtype, device: torch.device) -> None:
    """Leave each process a part of the weights of `network`, in place. Adapters stay whole, on `device`."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    trainable = {parameter for parameter in network.parameters() if parameter.requires_grad}
    everything = len(trainable) == len(list(network.parameters()))
    rules: dict[str, Any] = {
        "mesh": init_device_mesh(device.type, (world_size(),)),
        "mp_policy": MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32),
        "ignored_params": set() if everything else trainable,
    }
    root = _Root(network)
    for layer in layers:
        fully_shard(layer, **rules)
    fully_shard(root, **rules)
    for part in (*layers, root):
        assert isinstance(part, FSDPModule)
        part.set_gradient_divide_factor(1.0)  # sums, not means
        part.set_force_sum_reduction_for_comms(True)  # gloo knows no scaled sum
    if not everything:
        for parameter in trainable:
            parameter.data = parameter.data.to(device)
    object.__setattr__(network, "root", root)  # past nn.Module, which would list it as a part of this one


class _Root(nn.Module):
    """FSDP makes the outermost weights whole while its root computes; ours computes whatever it is asked."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        return compute()


def with_gathered_root(network: nn.Module, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
    """What `compute` makes with `network`, whose outermost weights are whole meanwhile."""
    root = getattr(network, "root", None)
    return root(compute) if root else compute()


def is_sharded(parameters: Iterable[torch.Tensor]) -> bool:
    return any(isinstance(parameter, DTensor) for parameter in parameters)


def gather_weights(network: nn.Module, load: Callable[[], nn.Module]) -> nn.Module:
    """The network with all that it has learned, to be saved. `load` gives one as training began with it."""
    if not hasattr(network, "root"):
        return network
    trainable = {name: value for name, value in network.named_parameters() if value.requires_grad}
    gathered = {}
    for name, value in trainable.items():  # one after the other: all of them may not fit on a device
        full = value.full_tensor() if isinstance(value, DTensor) else value.data
        if not rank():
            gathered[name] = full.cpu()
    if rank():
        return network
    fresh = load()
    with torch.no_grad():
        for name, value in fresh.named_parameters():
            if value.requires_grad:
                value.copy_(gathered[name])
    return fresh


def local(value: torch.Tensor) -> torch.Tensor:
    """The part that this process holds."""
    return value.to_local() if isinstance(value, DTensor) else value


def like(value: torch.Tensor, parameter: nn.Parameter) -> torch.Tensor:
    """A part, as one of a tensor that is spread as `parameter` is."""
    value = value.to(parameter.device)
    if not isinstance(parameter, DTensor) or value.shape != parameter.to_local().shape:
        return value
    layout = (parameter.device_mesh, parameter.placements)
    return DTensor.from_local(value, *layout, run_check=False, shape=parameter.shape, stride=parameter.stride())


def newest(checkpoints: Checkpoints, sharded: bool, device: torch.device) -> Checkpoint | None:
    """The newest checkpoint that is complete: for weights in parts, the newest that every process has its part of."""
    if world_size() == 1:
        return checkpoints.newest()
    if sharded:
        steps: list[list[int]] = [[] for _ in range(world_size())]
        dist.all_gather_object(steps, checkpoints.steps())
        common = set(steps[0]).intersection(*steps[1:])
        return checkpoints.load(max(common)) if common else None
    return _broadcast(None if rank() else checkpoints.newest(), device)


def _broadcast(checkpoint: Checkpoint | None, device: torch.device) -> Checkpoint | None:
    """The checkpoint that the first process has read, for all: they may be on hosts that don't see its folder."""
    shapes = None if checkpoint is None else {name: (value.shape, value.dtype) for name, value in checkpoint[0].items()}
    message = [(shapes, checkpoint[1] if checkpoint else None)]
    dist.broadcast_object_list(message, device=device if device.type == "cuda" else None)
    shapes, state = message[0]
    if shapes is None or state is None:
        return None
    tensors: Tensors = {}
    for name, (shape, dtype) in shapes.items():
        tensor = (checkpoint[0][name] if checkpoint else torch.empty(shape, dtype=dtype)).to(device)
        dist.broadcast(tensor, 0)
        tensors[name] = tensor.cpu()
    return tensors, state
