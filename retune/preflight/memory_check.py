"""Whether a training fits into memory, and if not, which changes to the params would make it fit.

The estimate (`retune.preflight.compute_estimate`) is accurate to a factor of two, so the check refuses a training only
by what it needs for certain: the weights, their gradients and Adam's moments. The check never changes a result, so no
stage depends on it.
"""

import importlib.util
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import chain, combinations, product
from typing import Any, Literal

from retune.preflight.compute_estimate import PREFERENCES, ModelShape, memory
from retune.system import free_memory
from retune.system.free_memory import AvailableMemory


@dataclass(frozen=True)
class MemoryVerdict:
    verdict: Literal["fits", "tight", "too large"]
    message: str
    suggestions: list[str]  # changes to the params, each sufficient by itself; empty if it fits


def find(cuda: bool) -> AvailableMemory:
    """Free memory of the GPU, or the share of the machine's memory that this process may use."""
    if cuda:
        import torch

        free, _ = torch.cuda.mem_get_info()
        return AvailableMemory(free, f"on the {torch.cuda.get_device_name()}", torch.cuda.device_count())
    return free_memory.of_machine()


def check_memory(
    shape: ModelShape, training: Any, bf16: bool, available: AvailableMemory, cuda: bool, start: str | None = None
) -> MemoryVerdict:
    """`training`: the section; `start`: the method of the version that preferences are learned on, if that is known."""
    need, free = memory(shape, training, bf16, start), f"{_gib(available.free)} are free {available.where}"
    if not cuda and training.parallel.processes > 1:  # processes share the machine's memory, while each GPU has its own
        available = replace(available, free=available.free // training.parallel.processes)
        free += f", {_gib(available.free)} for each of {training.parallel.processes} processes"
    if need.peak <= available.free:
        return MemoryVerdict("fits", f"Fits into memory: needs about {_gib(need.peak)}, and {free}", [])
    suggestions = suggest_changes(shape, Plan(training, bf16, start), available, cuda)
    advice = _advice(suggestions)
    if need.certain > available.free:
        reason = f"needs {_gib(need.certain)} for weights, gradients and Adam's moments alone, but {free}"
        return MemoryVerdict("too large", f"Does not fit into memory: {reason}. {advice}", suggestions)
    reason = f"needs about {_gib(need.peak)}, {_gib(need.certain)} of them for certain, and {free}"
    return MemoryVerdict("tight", f"May not fit into memory: {reason}. {advice}", suggestions)


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"


def _advice(suggestions: list[str]) -> str:
    if suggestions:
        return f"Any of these suffices by the estimate: {'; '.join(suggestions)}"
    return "No change to the params suffices by the estimate: use a smaller base, or a machine with more memory"


@dataclass(frozen=True)
class Plan:
    """A training as configured, or as suggested."""

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
    """Changes that each suffice, the smallest first.

    First checkpointing or a smaller batch, or both if neither suffices; then every other method, with as few of these
    two as it needs.
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
    """Half the batch and so on, down to one row or pair, with more batches per step, so that a step stays the same."""

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
    """Tokens of the smallest batch that training accepts."""
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
    """Other methods, whose weights need less memory."""
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
