"""The memory that there is for a training, whether it fits, and if not which changes to the params would make it fit.

The estimate (`retune.preflight.compute_estimate`) is good to a factor of two, so only what is certain is a reason to
refuse: the weights, their gradients and Adam's moments. Like that estimate this changes no result: no stage depends on
it.
"""

import importlib.util
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from retune.preflight.compute_estimate import PREFERENCES, ModelShape, memory

ROOT = Path("/")


@dataclass(frozen=True)
class AvailableMemory:
    free: int  # bytes
    where: str
    gpus: int = 0


@dataclass(frozen=True)
class MemoryVerdict:
    verdict: Literal["fits", "tight", "too large"]
    told: str
    would_fit: list[str]  # changes, each enough by itself; none where it fits


# ---------------------------------------------------------------- what there is


def find(cuda: bool) -> AvailableMemory:
    """Free memory of the GPU, or what this process may still take of the machine's."""
    if cuda:
        import torch

        free, _ = torch.cuda.mem_get_info()
        return AvailableMemory(free, f"on the {torch.cuda.get_device_name()}", torch.cuda.device_count())
    return of_machine()


def of_machine(root: Path = ROOT) -> AvailableMemory:
    """Of what is available and what the control groups of this process leave, the least. Swap counts for nothing."""
    return min(_available(root), *_of_groups(root), key=lambda room: room.free)


def _available(root: Path) -> AvailableMemory:
    if (told := root / "proc/meminfo").exists():
        lines = dict(line.split(":") for line in told.read_text("ascii").splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    else:
        import psutil

        free = int(psutil.virtual_memory().available)
    return AvailableMemory(free, "in the memory of this machine")


def _of_groups(root: Path) -> Iterator[AvailableMemory]:
    """Every group above this process may limit it, in version 1 of control groups and in 2.

    A container sees its own group as the root of the tree, whatever the name that it is told.
    """
    told = root / "proc/self/cgroup"
    for line in told.read_text("utf-8").splitlines() if told.exists() else []:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        tree = root / "sys/fs/cgroup" / controllers
        own = tree / path.lstrip("/")
        for group in [own, *own.parents]:
            if group.is_relative_to(tree):
                yield from _left(group, "max current" if not controllers else "limit_in_bytes usage_in_bytes")


def _left(group: Path, names: str) -> Iterator[AvailableMemory]:
    """Files that were read and could be read again count as used, and are given up for the asking."""
    try:
        limit, used = ((group / f"memory.{name}").read_text("ascii").strip() for name in names.split())
        lines = (line.split() for line in (group / "memory.stat").read_text("ascii").splitlines())
        cached = {name.removeprefix("total_"): int(value) for name, value in lines}
    except OSError:
        return
    if limit != "max":
        files = cached.get("inactive_file", 0) + cached.get("active_file", 0)
        yield AvailableMemory(int(limit) - int(used) + files, f"under the limit of the control group {group}")


# ---------------------------------------------------------------- whether it fits


def check_memory(
    shape: ModelShape, training: Any, bf16: bool, room: AvailableMemory, cuda: bool, start: str | None = None
) -> MemoryVerdict:
    """`training`: the section; `start`: the method of the version that preferences are learned on, if that is known."""
    need, free = memory(shape, training, bf16, start), f"{_gib(room.free)} are free {room.where}"
    if not cuda and training.parallel.processes > 1:  # they share the memory that GPUs have each of their own
        room = replace(room, free=room.free // training.parallel.processes)
        free += f", {_gib(room.free)} for each of {training.parallel.processes} processes"
    if need.peak <= room.free:
        return MemoryVerdict("fits", f"training takes about {_gib(need.peak)}, and {free}", [])
    would = suggest_changes(shape, Plan(training, bf16, start), room, cuda)
    if need.certain > room.free:
        told = f"training takes {_gib(need.certain)} for weights, gradients and Adam's moments alone, and {free}"
        return MemoryVerdict("too large", f"{told}. {_advice(would)}", would)
    told = f"training may take about {_gib(need.peak)}, {_gib(need.certain)} of them for certain, and {free}"
    return MemoryVerdict("tight", f"{told}. {_advice(would)}", would)


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"


def _advice(would: list[str]) -> str:
    if would:
        return f"By estimate any of these is enough: {'; '.join(would)}"
    return "By estimate no change to the params is enough: take a smaller base, or a machine with more memory"


@dataclass(frozen=True)
class Plan:
    """A training as it is asked for, or as it could be."""

    training: Any
    bf16: bool
    start: str | None
    changes: tuple[str, ...] = ()

    def but(self, told: str, bf16: bool | None = None, start: str | None = None, **settings: Any) -> "Plan":
        own = replace(self.training, **settings)
        return Plan(own, self.bf16 if bf16 is None else bf16, start or self.start, (*self.changes, told))


def suggest_changes(shape: ModelShape, asked: Plan, room: AvailableMemory, cuda: bool) -> list[str]:
    """Changes of which each is enough, the least far-reaching first."""

    def first(plans: list[Plan]) -> list[str]:
        fitting = (each for each in plans if memory(shape, each.training, each.bf16, each.start).peak <= room.free)
        return [" and ".join(each.changes) for each in fitting][:1]

    alone = first(_checkpointed(asked)) + first(_smaller(asked))
    others = [*_in_parts(asked, room.gpus), *_otherwise(asked, cuda)]
    other = [first([plan, *_checkpointed(plan), *_smaller(plan), *_both(plan)]) for plan in others]
    return [*(alone or first(_both(asked))), *(change for found in other for change in found)]


def _checkpointed(plan: Plan) -> list[Plan]:
    if plan.training.gradient_checkpointing:
        return []
    return [plan.but("train.gradient_checkpointing=true", gradient_checkpointing=True)]


def _smaller(plan: Plan) -> list[Plan]:
    """Half the batch and half of that, down to one row or pair; more batches a step, so that a step stays as it is."""
    now, least = plan.training.batch_tokens, _least(plan.training)
    made = []
    for tokens in [size for size in (now // 2**halved for halved in range(1, 30)) if size > least] + [least]:
        if tokens < now:
            batches = math.ceil(plan.training.accumulate * now / tokens)
            told = f"train.batch_tokens={tokens} with train.accumulate={batches}"
            made.append(plan.but(told, batch_tokens=tokens, accumulate=batches))
    return made


def _both(plan: Plan) -> list[Plan]:
    return [smaller for checkpointed in _checkpointed(plan) for smaller in _smaller(checkpointed)]


def _in_parts(plan: Plan, gpus: int) -> Iterator[Plan]:
    """Over all GPUs of this host. What is held in 4 or 8 bits is not spread."""
    training = plan.training
    fewer_bits = training.lora.base_precision == "fp8" or "qlora" in (training.method, plan.start)
    if gpus > 1 and training.parallel.strategy == "ddp" and not fewer_bits:
        batches = math.ceil(training.accumulate / gpus) * gpus
        told = f"train.parallel.strategy=fsdp with train.parallel.processes={gpus} and train.accumulate={batches}"
        own = replace(training.parallel, processes=gpus, strategy="fsdp")
        yield plan.but(told, parallel=own, accumulate=batches)


def _least(training: Any) -> int:
    """Tokens of the smallest batch that training takes."""
    if training.method in PREFERENCES:
        return int(2 * training.max_tokens)
    return int(training.max_tokens + (training.prompt.virtual_tokens if training.method == "prompt" else 0))


def _otherwise(plan: Plan, cuda: bool) -> Iterator[Plan]:
    """Other ways to learn, whose weights take less."""
    training, lacks = plan.training, "" if importlib.util.find_spec("bitsandbytes") else " (pip install bitsandbytes)"
    whole = "full" in (training.method, plan.start)
    if training.method in PREFERENCES:
        if whole:
            yield plan.but("a start of method lora", start="lora")
        if cuda and plan.start != "qlora":
            yield plan.but(f"a start of method qlora{lacks}", start="qlora")
    else:
        if whole:
            yield plan.but("train.method=lora", method="lora")
        if cuda and training.method != "qlora":
            eight = training.lora.base_precision == "fp8"
            own = replace(training.lora, base_precision="bf16")
            told = f"train.method=qlora{lacks}{' and train.lora.base_precision=bf16' if eight else ''}"
            yield plan.but(told, method="qlora", lora=own)
    if not plan.bf16 and not whole:
        yield plan.but("train.precision=bf16", bf16=True, precision="bf16")
