"""Whole trainings on pairs: from an instruct version, measured by it, to the same bits again."""

import math
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch

from retune.config.common import Base
from retune.config.generation import PreferTrain
from retune.data.messages import NO_ANSWER
from retune.errors import Refused, WrongUse
from retune.models import causal_lm, chat_template
from retune.models.packing import supervised
from retune.preflight import compute_estimate, memory_check
from retune.system.free_memory import AvailableMemory
from tasks.train.__main__ import train_preferences
from tasks.train.checkpoint import Checkpoints
from tasks.train.context import train_context
from tasks.train.decoder import pairs, sft
from tasks.train.decoder.losses import dpo, kto
from tasks.train.decoder.preference import fit
from tests.support.tree_hashes import file_hashes

QUIET = lambda *_, **__: None  # noqa: E731


@pytest.fixture(scope="module")
def preference_tables(make_replies):
    """Chosen: the reply that helps; rejected: one that doesn't."""
    tables = []
    for count, seed in ((30, 1), (12, 2)):
        frame = make_replies(count, seed)
        frame["rejected"] = [f"Please {word} call us again." for word in ("do not", "never", "not now") * (count // 3)]
        tables.append(frame)
    return tables


@pytest.fixture(scope="module")
def instruct_version_of(tmp_path_factory, preference_tables, decoder_config):
    """method -> the folder of an instruct version of that method, trained for an epoch; made once each."""
    folders = {}

    def get(method):
        if method not in folders:
            folder = tmp_path_factory.mktemp(method)
            params = decoder_config(method=method, epochs=1)
            sft.fit(*preference_tables, train_context(params, folder / "work", QUIET)).save(folder / "model")
            folders[method] = folder / "model"
        return folders[method]

    return get


@pytest.fixture(scope="module")
def prefer_config(decoder_config):
    shared = (
        "base",
        "template",
        "seed",
        "device",
        "precision",
        "deterministic",
        "max_tokens",
        "too_long",
        "epochs",
        "batch_tokens",
        "accumulate",
        "schedule",
    )
    more = ("warmup_share", "weight_decay", "max_grad_norm", "patience", "refit", "gradient_checkpointing", "compile")
    section = decoder_config()
    values = {name: getattr(section, name) for name in (*shared, *more, "parallel")}
    lora = replace(section.lora, learning_rate=5e-3)
    config = PreferTrain(method="dpo", beta=0.1, lora=lora, checkpoint_seconds=0.0, **values)
    return lambda **changes: replace(config, **changes)


def trained(folder, preference_tables, params, start, on_progress=QUIET):
    result = fit(*preference_tables, train_context(params, folder / "work", on_progress), start)
    result.save(folder / "model")
    return causal_lm.CausalLM(result.manifest, result.tokenizer, result.network), result.history, result.report


def gains(model, start, frame):
    """How much likelier chosen and rejected became: [rows, 2]."""
    rows = [
        chat_template.render(model.tokenizer, text, answer)
        for text, *answers in zip(frame["text"], frame["label"], frame["rejected"], strict=True)
        for answer in answers
    ]
    now, before = model.likelihood(rows), causal_lm.load(start, "cpu").likelihood(rows)
    return (before.nll - now.nll).reshape(-1, 2)


@pytest.mark.parametrize(("method", "start", "first"), [
    ("dpo", "lora", math.log(2)), ("dpo", "full", math.log(2)), ("kto", "lora", 0.5)
])  # fmt: skip
def test_it_starts_as_the_reference_and_learns_to_prefer(
    tmp_path, preference_tables, instruct_version_of, prefer_config, method, start, first
):
    params = prefer_config(method=method, accumulate=1)
    model, curve, report = trained(tmp_path / "one", preference_tables, params, instruct_version_of(start))
    assert curve.points[0]["train_loss"] == pytest.approx(first, abs=1e-5)
    evaluations = [point for point in curve.points if "val_loss" in point]
    assert min(point["val_loss"] for point in evaluations) < first - 0.01
    assert max(point["val_preferred"] for point in evaluations) > 0.8

    reloaded = causal_lm.load(tmp_path / "one/model", "cpu")
    gain = gains(reloaded, instruct_version_of(start), preference_tables[1])
    best = evaluations[report["best_epoch"] - 1]
    assert (gain[:, 0] > gain[:, 1]).mean() == pytest.approx(best["val_preferred"])
    assert params.beta * (gain[:, 0] - gain[:, 1]).mean() == pytest.approx(best["val_margin"], abs=1e-3)
    assert (model.manifest.task, model.manifest.method, model.manifest.template) == ("prefer", start, "chatml")
    trained(tmp_path / "two", preference_tables, params, instruct_version_of(start))
    assert file_hashes(tmp_path / "one/model") == file_hashes(tmp_path / "two/model")


class Stopped(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_a_training_that_was_stopped_goes_on_to_the_same_bits(
    tmp_path, preference_tables, instruct_version_of, prefer_config, method
):
    params = prefer_config(method=method, accumulate=1, refit=True, lora=replace(prefer_config().lora, dropout=0.1))
    steps = []
    _, whole, _ = trained(
        tmp_path / "whole",
        preference_tables,
        params,
        instruct_version_of("lora"),
        lambda step, *_, **__: steps.append(step),
    )
    assert steps == [point["step"] for point in whole.points] == sorted(steps)

    def stop(step, of, **_):
        if step >= 10:
            raise Stopped

    with pytest.raises(Stopped):
        trained(tmp_path / "again", preference_tables, params, instruct_version_of("lora"), stop)
    _, curve, _ = trained(tmp_path / "again", preference_tables, params, instruct_version_of("lora"))
    assert file_hashes(tmp_path / "again/model") == file_hashes(tmp_path / "whole/model")
    assert Checkpoints(tmp_path / "again/work/choose").newest()[1]["curve"]["resumed_from"] > 0
    assert curve.points == whole.points


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_batches_accumulated_to_one_step_equal_the_one_big_batch(
    tmp_path, preference_tables, instruct_version_of, prefer_config, method
):
    """Two steps: at the first nothing has moved away from the reference yet, and KTO's drift is 0 however it is cut."""
    curves = []
    for batch_tokens, accumulate in ((8192, 1), (256, 64)):
        params = prefer_config(
            method=method, beta=1.0, batch_tokens=batch_tokens, accumulate=accumulate, epochs=2, warmup_share=0.0
        )
        folder = tmp_path / str(accumulate)
        _, curve, _ = trained(folder, preference_tables, params, instruct_version_of("lora"))
        assert Checkpoints(folder / "work/choose").newest()[1]["step"] == 2
        curves.append([point["train_loss"] for point in curve.points if "train_loss" in point])
    assert curves[0] == pytest.approx(curves[1], abs=1e-5)
    assert curves[0][1] < curves[0][0] - 1e-2


def test_the_loss_of_dpo_is_that_of_trl(tmp_path, preference_tables, instruct_version_of, prefer_config):
    """Of TRL's own trainer, on the same pairs, where the policy has moved away from its reference."""
    pytest.importorskip("trl")
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    start = instruct_version_of("full")
    model, _, _ = trained(tmp_path, preference_tables, prefer_config(), start)
    gain = torch.tensor(gains(model, start, preference_tables[1]))
    loaded = [causal_lm.load(folder, "cpu") for folder in (tmp_path / "model", start)]
    for each in loaded:
        each.network.set_attn_implementation("sdpa")
    frame = preference_tables[1]
    rows = [
        [chat_template.render(model.tokenizer, text, answer) for answer in answers]
        for text, *answers in zip(frame["text"], frame["label"], frame["rejected"], strict=True)
    ]
    batch = [
        {
            "prompt_ids": one.tokens[: one.prompt],
            "chosen_ids": one.tokens[one.prompt :],
            "rejected_ids": other.tokens[other.prompt :],
        }
        for one, other in rows
    ]
    config = DPOConfig(
        output_dir=str(tmp_path / "trl"), beta=0.1, max_length=None, use_cpu=True, bf16=False, report_to="none",
        gradient_checkpointing=False, per_device_train_batch_size=len(batch),
    )  # fmt: skip
    data = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}])  # the batch is made by hand
    trainer = DPOTrainer(
        loaded[0].network, loaded[1].network, args=config, train_dataset=data, processing_class=model.tokenizer
    )
    trl_loss = trainer.compute_loss(trainer.model, trainer.data_collator(batch))
    assert dpo(gain, 0.1).mean().item() == pytest.approx(trl_loss.item(), abs=1e-4)
    assert abs(trl_loss.item() - math.log(2)) > 1e-2


def test_kto_is_the_papers_value_of_each_answer():
    gain, beta, drift = torch.tensor([[2.0, -1.0], [-3.0, 4.0]]), 0.5, torch.tensor(0.7)
    liked = torch.tensor([True, False])
    for (better, worse), pair in zip(gain.tolist(), gain, strict=True):
        value = lambda z: 1 / (1 + math.exp(-beta * z))  # noqa: E731
        assert kto(pair, liked, beta, drift).tolist() == pytest.approx(
            [1 - value(better - 0.7), 1 - value(0.7 - worse)]
        )


def test_an_answer_to_another_prompt_is_never_ones_own(preference_tables, instruct_version_of, prefer_config):
    tokenizer = chat_template.load(instruct_version_of("lora") / "tokenizer")
    judged = pairs.render(preference_tables[0], tokenizer, prefer_config())
    rows, mismatches = pairs.rows_of(judged), pairs.mismatched(judged, 128, seed=1)
    assert len(mismatches) == len(judged)
    for row, chosen in zip(mismatches, rows[::2], strict=True):
        assert row.tokens[: row.prompt] == chosen.tokens[: chosen.prompt]
    answers = sorted(tuple(row.tokens[row.prompt :]) for row in mismatches)
    assert answers == sorted(tuple(row.tokens[row.prompt :]) for row in rows[::2]), "each is used once"
    assert mismatches == pairs.mismatched(judged, 128, seed=1) != pairs.mismatched(judged, 128, seed=2)
    assert all(len(row.tokens) <= 30 and supervised(row) for row in pairs.mismatched(judged, 30, seed=1))


@pytest.fixture
def thumbs_tables(preference_tables):
    """Every second row keeps its chosen answer alone, the others the rejected one."""
    tables = []
    for frame in preference_tables:
        liked = frame.index % 2 == 0
        tables.append(
            frame.assign(
                label=frame["label"].where(liked, NO_ANSWER), rejected=frame["rejected"].where(~liked, NO_ANSWER)
            )
        )
    return tables


def test_kto_learns_from_answers_that_people_liked_or_disliked(
    tmp_path, thumbs_tables, preference_tables, instruct_version_of, prefer_config
):
    params = prefer_config(method="kto", accumulate=1)
    model, curve, report = trained(tmp_path, thumbs_tables, params, instruct_version_of("lora"))
    assert (report["rows"], report["left_out_rows"]) == (30, 0)
    assert curve.points[0]["train_loss"] == pytest.approx(0.5, abs=1e-5)
    assert max(point.get("val_preferred", 0) for point in curve.points) > 0.8
    gain = gains(model, instruct_version_of("lora"), preference_tables[1])
    assert gain[:, 0].mean() > 0 > gain[:, 1].mean(), "liked answers are likelier now, disliked ones less likely"


def test_the_loss_of_single_answers_is_that_of_trl():
    """Of TRL's own trainer, whose network gives the log-probabilities of the table below."""
    pytest.importorskip("trl")
    from trl import KTOTrainer

    gain, liked = torch.tensor([1.5, -0.5, 0.25, -2.0, 0.75]), torch.tensor([True, True, False, False, False])
    drift = torch.tensor([0.5, 0.1, -0.2, 0.3, 0.4])
    ones = torch.ones(5, 2, dtype=torch.long)
    batch = {"label": liked, "input_ids": ones, "completion_mask": ones, "attention_mask": ones}
    batch |= {"ref_logps": torch.full((5,), -40.0), "ref_KL_logps": torch.full((5,), -9.0)}
    trainer = MagicMock(
        beta=0.3, loss_type="kto", desirable_weight=1.0, undesirable_weight=1.0, calculate_KL=True,
        precompute_ref_logps=True, aux_loss_enabled=False, _total_train_tokens=0, _tp_size=1,
    )  # fmt: skip
    trainer.accelerator.device, trainer.accelerator.gather_for_metrics = "cpu", lambda value: value
    trainer._compute_kl_logps.return_value = drift - 9.0
    zeros = torch.zeros(5, 1)
    network = MagicMock(
        return_value=MagicMock(log_probs=(gain - 40.0)[:, None], entropy=zeros, mean_logits=zeros, loss=None)
    )
    trl_loss = KTOTrainer._compute_loss(trainer, network, batch, return_outputs=False)
    ours = kto(gain, liked, 0.3, drift.mean().clamp(min=0)).mean()
    assert ours.item() == pytest.approx(trl_loss.item(), abs=1e-6)


def test_dpo_refuses_a_row_with_one_answer(thumbs_tables, instruct_version_of, prefer_config):
    tokenizer = chat_template.load(instruct_version_of("lora") / "tokenizer")
    with pytest.raises(Refused, match=r"dpo compares two: set train\.method to kto"):
        pairs.render(thumbs_tables[0], tokenizer, prefer_config())


def test_a_pair_keeps_one_prompt_when_it_is_cut(preference_tables, instruct_version_of, prefer_config):
    tokenizer = chat_template.load(instruct_version_of("lora") / "tokenizer")
    whole = pairs.rows_of(pairs.render(preference_tables[0], tokenizer, prefer_config()))
    most = sorted(len(row.tokens) for row in whole)[len(whole) // 2]
    cutting = prefer_config(max_tokens=most, too_long="cut_prompt")
    cut = pairs.rows_of(pairs.render(preference_tables[0], tokenizer, cutting))
    assert len(cut) == len(whole)
    assert max(len(row.tokens) for row in cut) == most
    for one, other in zip(cut[::2], cut[1::2], strict=True):
        assert one.tokens[: one.prompt] == other.tokens[: other.prompt]
    dropped = pairs.rows_of(pairs.render(preference_tables[0], tokenizer, prefer_config(max_tokens=most)))
    assert 0 < len(dropped) < len(whole)
    assert len(dropped) % 2 == 0


def test_two_answers_that_are_one_are_refused(preference_tables, instruct_version_of, prefer_config):
    tokenizer = chat_template.load(instruct_version_of("lora") / "tokenizer")
    same = preference_tables[0].assign(rejected=preference_tables[0]["label"])
    with pytest.raises(Refused, match="are the same answer"):
        pairs.render(same, tokenizer, prefer_config())


def test_params_that_belie_the_start_are_refused(tmp_path, preference_tables, instruct_version_of, prefer_config):
    with pytest.raises(WrongUse, match="has rank 8, alpha 16, rank_stabilised False"):
        trained(
            tmp_path,
            preference_tables,
            prefer_config(lora=replace(prefer_config().lora, rank=4)),
            instruct_version_of("lora"),
        )
    with pytest.raises(WrongUse, match="a pair may take 256"):
        trained(tmp_path, preference_tables, prefer_config(batch_tokens=200), instruct_version_of("lora"))
    with pytest.raises(Refused, match="write train"):
        trained(
            tmp_path,
            preference_tables,
            prefer_config(lora=replace(prefer_config().lora, base_precision="fp8")),
            instruct_version_of("lora"),
        )


def test_a_start_that_preferences_are_not_learned_on_is_refused(
    tmp_path, preference_tables, instruct_version_of, prefer_config
):
    with pytest.raises(Refused, match="trained by method ia3"):
        trained(tmp_path, preference_tables, prefer_config(), instruct_version_of("ia3"))


@pytest.mark.parametrize(("wrong", "message"), [
    ({"template": "plain"}, "train.template is 'plain', its own is 'chatml'"),
    ({"base": Base("folder:/elsewhere", "0" * 64)}, "train.base.name is 'folder:/elsewhere'.*base.sha256 is '0000"),
])  # fmt: skip
def test_params_that_name_another_base_or_template_than_the_starts_are_refused(
    tmp_path, preference_tables, instruct_version_of, prefer_config, wrong, message
):
    with pytest.raises(WrongUse, match=message):
        trained(tmp_path, preference_tables, prefer_config(**wrong), instruct_version_of("lora"))


def test_pairs_whose_network_has_no_room_are_refused_by_what_their_start_takes(
    tmp_path, preference_tables, instruct_version_of, prefer_config, monkeypatch
):
    """A whole network stays in float32, whatever params say."""
    params, start = prefer_config(precision="bf16"), instruct_version_of("full")
    shape = compute_estimate.shape_of(Path(params.base.name.removeprefix("folder:")))
    free = compute_estimate.memory(shape, params, True, "full").certain - 1
    assert free > compute_estimate.memory(shape, params, True, "lora").certain
    monkeypatch.setattr(memory_check, "find", lambda cuda: AvailableMemory(free, "here"))
    with pytest.raises(Refused, match=r"moments alone.*are free here"):
        trained(tmp_path, preference_tables, params, start)


def test_the_base_is_no_start_and_the_refusal_says_what_is(tmp_path, preference_tables, prefer_config):
    with pytest.raises(Refused, match="`retune task prefer --from NAME@ALIAS`"):
        train_preferences(preference_tables, prefer_config(), None, tmp_path, tmp_path)
