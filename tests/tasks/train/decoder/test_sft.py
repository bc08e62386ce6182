"""Supervised fine-tuning: the methods, one step, choosing the best epoch, and going on after a kill."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest
import torch

from retune.models import causal_lm, chat_template, decoder
from tasks.train.checkpoint import Checkpoints
from tests.support.environment import ROOT
from tests.support.sft import base_loss, trained
from tests.support.tree_hashes import file_hashes


@pytest.mark.parametrize("method", ["full", "lora", "dora", "ia3", "prompt"])
def test_each_method_learns_and_makes_the_same_bits_twice(tmp_path, reply_tables, decoder_config, method):
    params = decoder_config(method=method, accumulate=1, neftune_alpha=5.0, gradient_checkpointing=method == "lora")
    model, curve, report = trained(tmp_path / "one", reply_tables, params)
    trained(tmp_path / "two", reply_tables, params)
    assert file_hashes(tmp_path / "one/model") == file_hashes(tmp_path / "two/model")

    losses = [point["val_loss"] for point in curve.points if "val_loss" in point]
    rows = [
        chat_template.render(model.tokenizer, *row)
        for row in zip(reply_tables[1]["text"], reply_tables[1]["label"], strict=True)
    ]
    before = base_loss(params, rows)
    after = causal_lm.load(tmp_path / "one/model", "cpu").likelihood(rows)
    assert min(losses) == pytest.approx(after.nll.sum() / after.tokens.sum(), abs=1e-5), "the best epoch is kept"
    assert min(losses) < before - {"full": 1.0, "lora": 0.2, "dora": 0.2, "ia3": 0.01, "prompt": 0.02}[method]
    learned, whole = report["trained_parameters"], report["parameters"]
    assert learned == whole if method == "full" else learned < whole / 3


def test_what_a_row_was_asked_is_not_learned(tmp_path, reply_tables, decoder_config):
    """Only the completion counts: whatever the prompts' tokens are predicted as, the loss is the same."""
    model, _, report = trained(tmp_path, reply_tables, decoder_config(epochs=1))
    rows = [
        chat_template.render(model.tokenizer, *row)
        for row in zip(reply_tables[0]["text"], reply_tables[0]["label"], strict=True)
    ]
    assert report["supervised_tokens"] == sum(len(row.tokens) - row.prompt for row in rows)
    assert report["tokens"] == sum(len(row.tokens) for row in rows)
    assert all(row.tokens[-1] == model.tokenizer.eos_token_id for row in rows)
    assert model.manifest.max_new_tokens == max(len(row.tokens) - row.prompt for row in rows)


def test_a_trained_model_answers_and_stops(tmp_path, reply_tables, decoder_config):
    model, _, _ = trained(
        tmp_path, reply_tables, decoder_config(method="full", epochs=10, batch_tokens=128, accumulate=1)
    )
    predictions = model.predict(reply_tables[1]["text"].tolist()[:6])
    assert set(predictions.labels) <= set(reply_tables[0]["label"])
    assert predictions.confidence.min() > 0.3


def first_moment(folder, reply_tables, params):
    """AdamW's first moment after one step is the gradient by a constant: it shows what was learned from."""
    _, curve, _ = trained(folder, reply_tables, replace(params, epochs=1, max_grad_norm=1e9, warmup_share=0.0))
    tensors, state = Checkpoints(folder / "work/choose").newest()
    assert state["step"] == 1
    moments = {name: value for name, value in tensors.items() if name.startswith("exp_avg.")}
    return moments, curve.points[0]["train_loss"]


def test_batches_accumulated_to_one_step_equal_the_one_big_batch(tmp_path, make_replies, decoder_config):
    """Also where the batches hold unlike numbers of supervised tokens, which a mean of means gets wrong."""
    sides = make_replies(16), make_replies(6, seed=2)
    big, loss = first_moment(tmp_path / "big", sides, decoder_config(batch_tokens=4096, accumulate=1))
    many, other = first_moment(tmp_path / "many", sides, decoder_config(batch_tokens=128, accumulate=64))
    assert loss == pytest.approx(other, abs=1e-5)
    assert max(value.abs().max() for value in big.values()) > 1e-3
    assert big.keys() == many.keys()
    assert all(torch.allclose(value, many[name], atol=1e-5, rtol=0) for name, value in big.items())


def test_the_loss_of_a_step_is_that_of_transformers_on_the_same_rows(tmp_path, make_replies, decoder_config):
    sides, params = (make_replies(4), make_replies(2, seed=2)), decoder_config(batch_tokens=4096, accumulate=1)
    _, loss = first_moment(tmp_path, sides, params)
    tokenizer, network = decoder.load_base(params.base.name, params.base.sha256, "fp32", torch.device("cpu"))
    chat_template.choose(tokenizer, "chatml")
    network.set_attn_implementation("eager")
    total = count = 0
    for row in (
        chat_template.render(tokenizer, *each) for each in zip(sides[0]["text"], sides[0]["label"], strict=True)
    ):
        ids = torch.tensor([row.tokens])
        labels = ids.clone()
        labels[:, : row.prompt] = -100
        supervised = len(row.tokens) - row.prompt
        total += network(input_ids=ids, labels=labels).loss.item() * supervised
        count += supervised
    assert loss == pytest.approx(total / count, abs=1e-5)


def test_the_best_epoch_is_kept_and_patience_ends_the_round(tmp_path, reply_tables, decoder_config):
    params = decoder_config(
        epochs=12, patience=1, lora=replace(decoder_config().lora, learning_rate=1.0), schedule="constant"
    )
    model, curve, report = trained(tmp_path, reply_tables, params)
    losses = [point["val_loss"] for point in curve.points if "val_loss" in point]
    assert len(losses) < 12, "a rate of 1.0 makes it worse soon"
    rows = [
        chat_template.render(model.tokenizer, *row)
        for row in zip(reply_tables[1]["text"], reply_tables[1]["label"], strict=True)
    ]
    likelihood = model.likelihood(rows)
    assert likelihood.nll.sum() / likelihood.tokens.sum() == pytest.approx(min(losses), abs=1e-4)
    assert report["best_epoch"] == losses.index(min(losses)) + 1
    assert len(losses) == report["best_epoch"] + 1


@pytest.mark.slow
def test_refit_learns_from_both_sides_for_as_many_epochs_as_were_best(tmp_path, reply_tables, decoder_config):
    steps = []
    model, curve, report = trained(
        tmp_path, reply_tables, decoder_config(refit=True), lambda step, of, **_: steps.append(step)
    )
    assert report["rows"] == sum(map(len, reply_tables))
    assert [point["step"] for point in curve.points] == steps == sorted(steps)
    both = pd.concat(reply_tables, ignore_index=True)
    by_hand, _, _ = trained(
        tmp_path / "hand", (both, reply_tables[1]), decoder_config(epochs=report["best_epoch"], patience=9)
    )
    if by_hand.manifest and report["best_epoch"] == decoder_config().epochs:
        one, other = (dict(each.network.named_parameters()) for each in (model, by_hand))
        assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_training_that_has_ended_for_want_of_patience_has_ended_also_when_it_is_started_again(
    tmp_path, reply_tables, decoder_config
):
    """Who forgets on resuming how long there was no lower loss trains on, past the best epoch."""
    params = decoder_config(
        epochs=12, patience=1, lora=replace(decoder_config().lora, learning_rate=1.0), schedule="constant"
    )
    _, whole, report = trained(tmp_path, reply_tables, params)
    last, before = whole.points[-1]["step"], file_hashes(tmp_path / "model")
    assert report["best_epoch"] < 11
    _, curve, again = trained(tmp_path, reply_tables, params)
    assert (again["resumed_from_step"], again["best_epoch"]) == (last, report["best_epoch"])
    assert curve.points == whole.points
    assert file_hashes(tmp_path / "model") == before


TRAINER = """
import sys, json
from pathlib import Path
import pandas as pd
from retune.config import params
from retune.config.generation import InstructTrain
from tasks.train.context import train_context
from tasks.train.decoder.sft import fit
work, train, val, section = map(Path, sys.argv[1:])
section = params.parse_section(InstructTrain, json.loads(section.read_text()))
sides = [pd.read_json(side, dtype=False) for side in (train, val)]
progress = lambda step, of, **_: print("step", step, flush=True)
fit(*sides, train_context(section, work, progress))
"""


@pytest.mark.slow
def test_a_training_that_was_killed_goes_on_to_the_same_bits(tmp_path, reply_tables, decoder_config):
    """In the second epoch, with dropout, noise and a refit to come. The killed one was another process."""
    lora = replace(decoder_config().lora, dropout=0.1)
    params = decoder_config(lora=lora, neftune_alpha=5.0, refit=True, accumulate=1, epochs=3)
    _, whole, _ = trained(tmp_path / "whole", reply_tables, params)

    killed = tmp_path / "killed"
    killed.mkdir()
    for name, side in zip(("train", "val"), reply_tables, strict=True):
        side.to_json(killed / f"{name}.json")
    (killed / "section.json").write_text(json.dumps(params, default=vars))
    paths = [str(killed / name) for name in ("work", "train.json", "val.json", "section.json")]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", TRAINER, *paths]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **threads}) as trainer:
        for line in trainer.stdout:
            if line.startswith("step 10"):
                os.kill(trainer.pid, signal.SIGKILL)
                break
    assert trainer.returncode == -signal.SIGKILL
    _, curve, _ = trained(killed, reply_tables, params)
    assert curve.points == whole.points, "the refit begins anew: only the curve knows what the round before did"
    assert file_hashes(killed / "model") == file_hashes(tmp_path / "whole/model")
    assert Checkpoints(killed / "work/choose").newest()[1]["curve"]["resumed_from"] > 0
