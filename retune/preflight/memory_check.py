"""Whether a training fits into memory, and if not, which changes to the params would make it fit.

The estimate (`retune.preflight.compute_estimate`) is good to a factor of two, so only what is certain is a reason to
refuse: the weights, their gradients and Adam's moments. Like that estimate this changes no result: no stage depends on
it.
"""

import importlib.util
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import chain, combinations, product
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
    message: str
    suggestions: list[str]  # changes to the params, each enough by itself; none where it fits


def find(cuda: bool) -> AvailableMemory:
    """Free memory of the GPU, or of what this process may take of the machine's."""
    if cuda:
        import torch

        free, _ = torch.cuda.mem_get_info()
        return AvailableMemory(free, f"on the {torch.cuda.get_device_name()}", torch.cuda.device_count())
    return of_machine()


def of_machine(root: Path = ROOT) -> AvailableMemory:
    """The least of what is available and what the control groups of this process leave. Swap does not count."""
    return min(_available(root), *_of_groups(root), key=lambda memory: memory.free)


def _available(root: Path) -> AvailableMemory:
    if (meminfo := root / "proc/meminfo").exists():
        lines = dict(line.split(":") for line in meminfo.read_text("ascii").splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    else:
        import psutil

        free = int(psutil.virtual_memory().available)
    return AvailableMemory(free, "in the memory of this machine")


def _of_groups(root: Path) -> Iterator[AvailableMemory]:
    """Every group above this process may limit it, in version 1 of control groups and in 2.

    A container sees its own group as the root of the tree, whatever name that file gives.
    """
    groups = root / "proc/self/cgroup"
    for line in groups.read_text("utf-8").splitlines() if groups.exists() else []:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        tree = root / "sys/fs/cgroup" / controllers
        innermost = tree / path.lstrip("/")
        for group in [innermost, *innermost.parents]:
            if group.is_relative_to(tree):
                yield from _remaining(group, "max current" if not controllers else "limit_in_bytes usage_in_bytes")


def _remaining(group: Path, names: str) -> Iterator[AvailableMemory]:
    """What the limit of a group leaves. Cached files count as used, and the kernel frees them on demand."""
    try:
        limit, used = ((group / f"memory.{name}").read_text("ascii").strip() for name in names.split())
        lines = (line.split() for line in (group / "memory.stat").read_text("ascii").splitlines())
        cached = {name.removeprefix("total_"): int(value) for name, value in lines}
    except OSError:
        return
    if limit != "max":
        files = cached.get("inactive_file", 0) + cached.get("active_file", 0)
        yield AvailableMemory(int(limit) - int(used) + files, f"under the limit of the control group {group}")


def check_memory(
    shape: ModelShape, training: Any, bf16: bool, available: AvailableMemory, cuda: bool, start: str | None = None
) -> MemoryVerdict:
    """`training`: the section; `start`: the method of the version that preferences are learned on, if that is known."""
    need, free = memory(shape, training, bf16, start), f"{_gib(available.free)} are free {available.where}"
    if not cuda and training.parallel.processes > 1:  # they share the memory that GPUs have each of their own
        available = replace(available, free=available.free // training.parallel.processes)
        free += f", {_gib(available.free)} for each of {training.parallel.processes} processes"
    if need.peak <= available.free:
        return MemoryVerdict("fits", f"Fits into memory: needs about {_gib(need.peak)}, and {free}", [])
    suggestions = suggest_changes(shape, Plan(training, bf16, start), available, cuda)
    advice = _advice(suggestions)
    if need.certain > available.free:
        reason = f"needs {_gib(need.certain)} for weights, gradients and Adam's moments alone, and {free}"
        return MemoryVerdict("too large", f"Does not fit into memory: {reason}. {advice}", suggestions)
    reason = f"needs about {_gib(need.peak)}, {_gib(need.certain)} of them for certain, and {free}"
    return MemoryVerdict("tight", f"May not fit into memory: {reason}. {advice}", suggestions)


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"


def _advice(suggestions: list[str]) -> str:
    if suggestions:
        return f"By estimate any of these is enough: {'; '.join(suggestions)}"
    return "By estimate no change to the params is enough: take a smaller base, or a machine with more memory"


@dataclass(frozen=True)
class Plan:
    """A training as it is configured, or as it could be."""

    training: Any
    bf16: bool
    start: str | None  # method of the version that preferences are learned on
    changes: tuple[str, ...] = ()

    def change(self, text: str, bf16: bool | None = None, start: str | None = None, **settings: Any) -> "Plan":
        training = replace(self.training, **settings)
        changes = (*self.changes, text)
        return Plan(training, self.bf16 if bf16 is None else bf16, start or self.start, changes)


Change = Callable[[Plan], Plan]


def suggest_changes(shape: ModelShape, plan: Plan, available: AvailableMemory, cuda: bool) -> list[str]:
    """Changes that are each enough, the least far-reaching first.

    First checkpointing alone and a smaller batch alone, or both where neither suffices; then every other way to learn,
    with as few of these two beside it as it needs.
    """

    def first(start: Plan, combinations_of_changes: Iterable[tuple[Change, ...]]) -> list[str]:
        for changes in combinations_of_changes:
            changed = reduce(lambda before, change: change(before), changes, start)
            if memory(shape, changed.training, changed.bf16, changed.start).peak <= available.free:
                return [" and ".join(changed.changes)]
        return []

    checkpointing, batches = list(_checkpointing(plan)), list(_smaller_batches(plan))
    suggestions = first(plan, combinations(checkpointing, 1)) + first(plan, combinations(batches, 1))
    suggestions = suggestions or first(plan, product(checkpointing, batches))
    for other in [*_sharded(plan, available.gpus), *_other_methods(plan, cuda)]:
        changes = [*_checkpointing(other), *_smaller_batches(other)]
        suggestions += first(other, chain.from_iterable(combinations(changes, count) for count in range(3)))
    return suggestions


def _checkpointing(plan: Plan) -> Iterator[Change]:
    if not plan.training.gradient_checkpointing:
        text = "train.gradient_checkpointing=true"
        yield lambda before: before.change(text, gradient_checkpointing=True)


def _smaller_batches(plan: Plan) -> Iterator[Change]:
    """Half the batch and half of that, down to one row or pair; more batches a step, so that a step stays as it is."""

    def batch_of(tokens: int, before: Plan) -> Plan:
        batches = math.ceil(before.training.accumulate * before.training.batch_tokens / tokens)
        text = f"train.batch_tokens={tokens} with train.accumulate={batches}"
        return before.change(text, batch_tokens=tokens, accumulate=batches)

    current, least = plan.training.batch_tokens, _least(plan.training)
    halves = [size for size in (current // 2**times for times in range(1, 30)) if size > least]
    for tokens in [*halves, least]:
        if tokens < current:
            yield partial(batch_of, tokens)


def _least(training: Any) -> int:
    """Tokens of the smallest batch that training takes."""
    if training.method in PREFERENCES:
        return int(2 * training.max_tokens)
    return int(training.max_tokens + (training.prompt.virtual_tokens if training.method == "prompt" else 0))


def _sharded(plan: Plan, gpus: int) -> Iterator[Plan]:
    """Over all GPUs of this host. Weights in 4 or 8 bits are not sharded."""
    training = plan.training
    fewer_bits = training.lora.base_precision == "fp8" or "qlora" in (training.method, plan.start)
    if gpus > 1 and training.parallel.strategy == "ddp" and not fewer_bits:
        batches = math.ceil(training.accumulate / gpus) * gpus
        text = f"train.parallel.strategy=fsdp with train.parallel.processes={gpus} and train.accumulate={batches}"
        parallel = replace(training.parallel, processes=gpus, strategy="fsdp")
        yield plan.change(text, parallel=parallel, accumulate=batches)


def _other_methods(plan: Plan, cuda: bool) -> Iterator[Plan]:
    """Other ways to learn, whose weights take less."""
    training = plan.training
    install = "" if importlib.util.find_spec("bitsandbytes") else " (pip install bitsandbytes)"
    is_full = "full" in (training.method, plan.start)
    if training.method in PREFERENCES:
        if is_full:
            yield plan.change("a start of method lora", start="lora")
        if cuda and plan.start != "qlora":
            start = f"a start of method qlora{install}"
            yield plan.change(start, start="qlora")
    else:
        if is_full:
            yield plan.change("train.method=lora", method="lora")
        if cuda and training.method != "qlora":
            fp8 = training.lora.base_precision == "fp8"
            lora = replace(training.lora, base_precision="bf16")
            qlora = f"train.method=qlora{install}{' and train.lora.base_precision=bf16' if fp8 else ''}"
            yield plan.change(qlora, method="qlora", lora=lora)
    if not plan.bf16 and not is_full:
        precision = "train.precision=bf16"
        yield plan.change(precision, bf16=True, precision="bf16")
