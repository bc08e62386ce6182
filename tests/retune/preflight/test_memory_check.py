"""Whether a training fits into the memory that there is, and what would."""

import re
from dataclasses import replace

import pytest

from retune.config.generation import Parallel
from retune.preflight import compute_estimate, memory_check
from retune.system.free_memory import AvailableMemory
from tests.support.decoder_shapes import LLAMA_8B, DecoderTraining, Lora

GIB = 2**30
H100 = AvailableMemory(78 * GIB, "on the NVIDIA H100")


def check(free, config, bf16=True, cuda=True, start=None):
    return memory_check.check_memory(LLAMA_8B, config, bf16, AvailableMemory(int(free * GIB), "here"), cuda, start)


def test_only_what_is_certain_is_a_reason_to_refuse():
    need = compute_estimate.memory(LLAMA_8B, DecoderTraining(), bf16=True)
    verdicts = [
        check(free, DecoderTraining()).verdict for free in (need.certain / GIB - 1, need.certain / GIB + 1, 100)
    ]
    assert verdicts == ["too large", "tight", "fits"]
    assert check(100, DecoderTraining()).suggestions == []


def test_a_whole_8b_network_is_refused_on_an_h100_with_figures_and_what_would_fit():
    verdict = memory_check.check_memory(LLAMA_8B, DecoderTraining(method="full"), True, H100, cuda=True)
    assert verdict.verdict == "too large"
    assert "119.66 GiB for weights, gradients and Adam's moments alone" in verdict.message
    assert "78.00 GiB are free on the NVIDIA H100" in verdict.message
    assert verdict.suggestions[0] == "train.method=lora"
    assert verdict.suggestions[1].startswith("train.method=qlora")


def test_what_changes_least_comes_first():
    assert check(60, DecoderTraining()).suggestions[:2] == [
        "train.gradient_checkpointing=true",
        "train.batch_tokens=4096 with train.accumulate=6",
    ]
    both = check(18.5, DecoderTraining()).suggestions
    assert both[0].startswith("train.gradient_checkpointing=true and train.batch_tokens=")
    assert both[1].startswith("train.method=qlora")
    verdict = check(60, DecoderTraining(batch_tokens=16384, gradient_checkpointing=True, method="full"))
    assert verdict.suggestions[0] == "train.method=lora", "neither a smaller batch nor what is asked for already"


@pytest.mark.parametrize("free", [7, 12, 16, 19, 25, 40, 60, 90])
@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
def test_each_change_that_is_named_is_enough(free, method):
    """Read back as a person would type it."""
    for change in check(free, DecoderTraining(method=method)).suggestions:
        settings = dict(re.findall(r"train\.(\w+)=(\w+)", change))
        changes = {name: int(value) if value.isdigit() else value == "true" for name, value in settings.items()}
        changes |= {name: settings[name] for name in ("method", "precision") if name in settings}
        changed = replace(DecoderTraining(method=method), **changes)
        assert compute_estimate.memory(LLAMA_8B, changed, bf16=True).peak <= free * GIB, change
        assert changed.batch_tokens >= 1024
        assert changed.batch_tokens * changed.accumulate == 3 * 8192, "a step stays as large as it was"


def test_more_gpus_are_named_where_a_part_each_is_enough():
    two = replace(H100, gpus=2)
    suggestion = memory_check.check_memory(
        LLAMA_8B, DecoderTraining(method="full", compile=True), True, two, cuda=True
    ).suggestions[0]
    assert suggestion.startswith("train.parallel.strategy=fsdp with train.parallel.processes=2 and train.accumulate=4")
    spread = DecoderTraining(method="full", compile=True, gradient_checkpointing=True, parallel=Parallel(2, 1, "fsdp"))
    assert memory_check.check_memory(LLAMA_8B, spread, True, two, cuda=True).verdict == "fits"
    assert compute_estimate.memory(LLAMA_8B, spread, True).certain * 2 == 16 * LLAMA_8B.parameters


def test_processes_share_the_memory_of_a_machine_and_not_that_of_gpus():
    two = DecoderTraining(parallel=Parallel(2, 1, "ddp"))
    need = compute_estimate.memory(LLAMA_8B, two, bf16=True).peak / GIB
    assert check(1.5 * need, two).verdict == "fits"
    assert check(1.5 * need, two, cuda=False).verdict != "fits"
    assert "for each of 2 processes" in check(1.5 * need, two, cuda=False).message


def test_where_nothing_is_enough_it_says_so():
    verdict = check(1, DecoderTraining())
    assert (verdict.verdict, verdict.suggestions) == ("too large", [])
    assert "use a smaller base" in verdict.message


def test_on_a_processor_4_bits_are_no_way_out_and_half_the_bits_are():
    verdict = check(25, DecoderTraining(), bf16=False, cuda=False)
    assert verdict.verdict == "too large"
    assert verdict.suggestions == ["train.precision=bf16 and train.gradient_checkpointing=true"]


def test_a_base_in_8_bits_is_given_up_for_4():
    (suggestion,) = check(14, DecoderTraining(lora=Lora(base_precision="fp8"))).suggestions
    assert "train.method=qlora" in suggestion
    assert "train.lora.base_precision=bf16" in suggestion


def test_preferences_need_another_start_and_a_batch_that_holds_a_pair():
    suggestions = check(25, DecoderTraining(method="dpo"), start="full").suggestions
    assert [change.split(" and ")[0].split(" (")[0] for change in suggestions] == [
        "a start of method lora",
        "a start of method qlora",
    ]
    whole = check(40, DecoderTraining(method="dpo"), start="full").suggestions
    assert whole[0].startswith("train.gradient_checkpointing=true")
    smallest = max(memory_check._least(DecoderTraining(method=method)) for method in ("dpo", "kto"))
    assert smallest == 2 * 1024
