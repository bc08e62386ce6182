"""What is refused or warned of before a training begins."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from retune.errors import Refused, WrongUse
from retune.models.chat_template import TokenizedExample
from retune.preflight import compute_estimate, memory_check
from retune.system.free_memory import AvailableMemory
from tasks.train.decoder import checks, sft
from tasks.train.decoder import examples as decoder_examples
from tasks.train.decoder.sft import unusual_rate
from tests.support.sft import trained


@pytest.mark.parametrize("method", ["full", "lora", "ia3", "prompt"])
def test_a_usual_learning_rate_is_no_cause_for_a_warning_and_another_is(decoder_config, method):
    section = getattr(decoder_config(), method)
    for rate, warned in ((1e-5, True), (sft.USUAL_RATES[method][0], False), (1.0, True)):
        warning = unusual_rate(decoder_config(method=method, **{method: replace(section, learning_rate=rate)}))
        if method == "full" and rate == 1e-5:
            assert warning == []
        else:
            assert bool(warning) == warned


def test_ia3_and_prompt_tuning_are_used_to_fifty_times_the_rate_of_a_whole_network():
    for method in ("ia3", "prompt"):
        assert sft.USUAL_RATES[method][0] >= 40 * sft.USUAL_RATES["lora"][0]


def test_a_tokenizer_that_knows_more_than_the_base_is_refused():
    with pytest.raises(Refused, match="knows a token 10, and the base has 10"):
        decoder_examples.check_rows([TokenizedExample([1, 10], 1)], 10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_tokens": 64}, "one row may take 128"),
        ({"method": "prompt", "batch_tokens": 130}, "one row may take 132"),
        ({"method": "full", "base_precision": "fp8"}, "only method lora without dropout"),
    ],
)
def test_params_that_cannot_go_together_are_refused(tmp_path, reply_tables, decoder_config, changes, message):
    precision = changes.pop("base_precision", "bf16")
    with pytest.raises(WrongUse, match=message):
        trained(
            tmp_path,
            reply_tables,
            decoder_config(lora=replace(decoder_config().lora, base_precision=precision), **changes),
        )


@pytest.mark.parametrize("changes", [{"method": "qlora"}, {"base_precision": "fp8"}], ids=["qlora", "fp8"])
def test_what_needs_a_gpu_is_refused_without_one_with_what_to_do(tmp_path, reply_tables, decoder_config, changes):
    precision = changes.pop("base_precision", "bf16")
    with pytest.raises(Refused, match="write train"):
        trained(
            tmp_path,
            reply_tables,
            decoder_config(lora=replace(decoder_config().lora, base_precision=precision), **changes),
        )


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_training_whose_weights_have_no_room_is_refused_before_any_is_loaded(
    tmp_path, reply_tables, decoder_config, monkeypatch, method
):
    """The base is another than it says, which is found out when it is loaded."""
    monkeypatch.setattr(memory_check, "find", lambda cuda: AvailableMemory(100_000, "in a thimble"))
    params = decoder_config(method=method, base=replace(decoder_config().base, sha256="0" * 64))
    with pytest.raises(Refused, match=r"0\.00 GiB for weights, gradients and Adam's moments alone.*thimble"):
        trained(tmp_path, reply_tables, params)


def test_a_training_that_may_not_fit_is_told_so_and_goes_on(decoder_config, capsys):
    params = decoder_config(batch_tokens=2048)
    shape = compute_estimate.shape_of(Path(params.base.name.removeprefix("folder:")))
    need = compute_estimate.memory(shape, params, bf16=False)
    device = torch.device("cpu")
    checks.check_memory(params, device, AvailableMemory(need.peak, "here"))
    assert capsys.readouterr().out == ""
    checks.check_memory(params, device, AvailableMemory(need.peak - 1, "here"))
    output = capsys.readouterr().out
    assert output.startswith("warning: May not fit into memory: needs about")
    assert "train.gradient_checkpointing=true; train.batch_tokens=1024 with train.accumulate=4" in output
    with pytest.raises(Refused, match="are free here"):
        checks.check_memory(params, device, AvailableMemory(need.certain - 1, "here"))


def test_a_base_whose_shape_nobody_can_read_is_trained_without_a_verdict(tmp_path, decoder_config, capsys):
    base = shutil.copytree(decoder_config().base.name.removeprefix("folder:"), tmp_path / "base")
    (base / "config.json").write_text('{"model_type": "odd"}')
    params = decoder_config(base=replace(decoder_config().base, name=f"folder:{base}"))
    checks.check_memory(params, torch.device("cpu"), AvailableMemory(1, "here"))
    assert "it is unknown whether the training fits into memory" in capsys.readouterr().out
