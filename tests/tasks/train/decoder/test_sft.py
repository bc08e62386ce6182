"""Whole trainings of a tiny decoder: each method learns, to the same bits again, also after being killed."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from peft import PeftConfig

from retune.config.common import Base
from retune.errors import Refused, WrongUse
from retune.lineage.parent_version import ParentVersion
from retune.models import causal_lm, chat_template, decoder, generation
from retune.models.chat_template import TokenizedExample
from retune.models.manifest import read_causal_lm
from retune.preflight import compute_estimate, memory_check
from tasks.train.checkpoint import Checkpoints
from tasks.train.context import train_context
from tasks.train.decoder import batch_plan, checks, sft
from tasks.train.decoder import examples as decoder_examples
from tasks.train.decoder.network import add_adapter, load_start
from tasks.train.decoder.sft import fit, unusual_rate
from tasks.train.parent import CONTENT, ParentCausalLM

ROOT = Path(__file__).parents[4]
QUIET = lambda *_, **__: None  # noqa: E731


def files(folder):
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def trained(folder, sides, params, on_progress=QUIET, **more):
    result = fit(*sides, train_context(params, folder / "work", on_progress), **more)
    result.save(folder / "model")
    return causal_lm.CausalLM(result.manifest, result.tokenizer, result.network), result.history, result.report


@pytest.fixture(scope="module")
def sides(make_replies):
    return make_replies(36), make_replies(12, seed=2)


# ---------------------------------------------------------------- the methods


@pytest.mark.parametrize("method", ["full", "lora", "dora", "ia3", "prompt"])
def test_each_method_learns_and_makes_the_same_bits_twice(tmp_path, sides, decoder_config, method):
    params = decoder_config(method=method, accumulate=1, neftune_alpha=5.0, gradient_checkpointing=method == "lora")
    own, curve, report = trained(tmp_path / "one", sides, params)
    trained(tmp_path / "two", sides, params)
    assert files(tmp_path / "one/model") == files(tmp_path / "two/model")

    losses = [point["val_loss"] for point in curve.points if "val_loss" in point]
    rows = [chat_template.render(own.tokenizer, *row) for row in zip(sides[1]["text"], sides[1]["label"], strict=True)]
    before = base_loss(params, rows)
    after = causal_lm.load(tmp_path / "one/model", "cpu").likelihood(rows)
    assert min(losses) == pytest.approx(after.nll.sum() / after.tokens.sum(), abs=1e-5), "the best epoch is kept"
    assert min(losses) < before - {"full": 1.0, "lora": 0.2, "dora": 0.2, "ia3": 0.01, "prompt": 0.02}[method]
    learned, whole = report["trained_parameters"], report["parameters"]
    assert learned == whole if method == "full" else learned < whole / 3


def base_loss(params, rows):
    _, network = decoder.load_base(params.base.name, params.base.sha256, "fp32", torch.device("cpu"))
    found = generation.likelihood(network, rows, 8)
    return found.nll.sum() / found.tokens.sum()


def test_what_a_row_was_asked_is_not_learned(tmp_path, sides, decoder_config):
    """Only the completion counts: whatever the prompts' tokens are predicted as, the loss is the same."""
    own, _, report = trained(tmp_path, sides, decoder_config(epochs=1))
    rows = [chat_template.render(own.tokenizer, *row) for row in zip(sides[0]["text"], sides[0]["label"], strict=True)]
    assert report["supervised_tokens"] == sum(len(row.tokens) - row.prompt for row in rows)
    assert report["tokens"] == sum(len(row.tokens) for row in rows)
    assert all(row.tokens[-1] == own.tokenizer.eos_token_id for row in rows)
    assert own.manifest.max_new_tokens == max(len(row.tokens) - row.prompt for row in rows)


def test_a_trained_model_answers_and_stops(tmp_path, sides, decoder_config):
    own, _, _ = trained(tmp_path, sides, decoder_config(method="full", epochs=10, batch_tokens=128, accumulate=1))
    said = own.predict(sides[1]["text"].tolist()[:6])
    assert set(said.labels) <= set(sides[0]["label"])
    assert said.confidence.min() > 0.3


# ---------------------------------------------------------------- one step


def first_moment(folder, sides, params):
    """AdamW's first moment after one step is the gradient by a constant: it shows what was learned from."""
    _, curve, _ = trained(folder, sides, replace(params, epochs=1, max_grad_norm=1e9, warmup_share=0.0))
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


# ---------------------------------------------------------------- choosing and going on


def test_the_best_epoch_is_kept_and_patience_ends_the_round(tmp_path, sides, decoder_config):
    params = decoder_config(
        epochs=12, patience=1, lora=replace(decoder_config().lora, learning_rate=1.0), schedule="constant"
    )
    own, curve, report = trained(tmp_path, sides, params)
    losses = [point["val_loss"] for point in curve.points if "val_loss" in point]
    assert len(losses) < 12, "a rate of 1.0 makes it worse soon"
    rows = [chat_template.render(own.tokenizer, *row) for row in zip(sides[1]["text"], sides[1]["label"], strict=True)]
    found = own.likelihood(rows)
    assert found.nll.sum() / found.tokens.sum() == pytest.approx(min(losses), abs=1e-4)
    assert report["best_epoch"] == losses.index(min(losses)) + 1
    assert len(losses) == report["best_epoch"] + 1


def test_refit_learns_from_both_sides_for_as_many_epochs_as_were_best(tmp_path, sides, decoder_config):
    told = []
    own, curve, report = trained(tmp_path, sides, decoder_config(refit=True), lambda step, of, **_: told.append(step))
    assert report["rows"] == sum(map(len, sides))
    assert [point["step"] for point in curve.points] == told == sorted(told)
    both = pd.concat(sides, ignore_index=True)
    by_hand, _, _ = trained(
        tmp_path / "hand", (both, sides[1]), decoder_config(epochs=report["best_epoch"], patience=9)
    )
    if by_hand.manifest and report["best_epoch"] == decoder_config().epochs:
        one, other = (dict(each.network.named_parameters()) for each in (own, by_hand))
        assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_training_that_has_ended_for_want_of_patience_has_ended_also_when_it_is_started_again(
    tmp_path, sides, decoder_config
):
    """Who forgets on resuming how long there was no lower loss trains on, past the best epoch."""
    params = decoder_config(
        epochs=12, patience=1, lora=replace(decoder_config().lora, learning_rate=1.0), schedule="constant"
    )
    _, whole, told = trained(tmp_path, sides, params)
    last, before = whole.points[-1]["step"], files(tmp_path / "model")
    assert told["best_epoch"] < 11
    _, curve, again = trained(tmp_path, sides, params)
    assert (again["resumed_from_step"], again["best_epoch"]) == (last, told["best_epoch"])
    assert curve.points == whole.points
    assert files(tmp_path / "model") == before


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
def test_a_training_that_was_killed_goes_on_to_the_same_bits(tmp_path, sides, decoder_config):
    """In the second epoch, with dropout, noise and a refit to come. The killed one was another process."""
    own = replace(decoder_config().lora, dropout=0.1)
    params = decoder_config(lora=own, neftune_alpha=5.0, refit=True, accumulate=1, epochs=3)
    _, whole, _ = trained(tmp_path / "whole", sides, params)

    killed = tmp_path / "killed"
    killed.mkdir()
    for name, side in zip(("train", "val"), sides, strict=True):
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
    _, curve, _ = trained(killed, sides, params)
    assert curve.points == whole.points, "the refit begins anew: only the curve knows what the round before did"
    assert files(killed / "model") == files(tmp_path / "whole/model")
    assert Checkpoints(killed / "work/choose").newest()[1]["curve"]["resumed_from"] > 0


# ---------------------------------------------------------------- refusals and warnings


# ---------------------------------------------------------------- from an earlier version


@pytest.fixture(scope="module")
def earlier_of(tmp_path_factory, sides, decoder_config):
    """method -> a version of that method that has learned the train side; made once each."""
    known = {}

    def get(method, refit=False):
        if method not in known:
            folder = tmp_path_factory.mktemp(method)
            trained(folder, sides, decoder_config(method=method, epochs=3, accumulate=1))
            known[method] = folder / "model"
        begins = ParentVersion("writer/1", "5" * 64, "c" * 40, "f" * 64, "1" * 32 + ".dir", "2" * 32, "3" * 32, refit)
        return ParentCausalLM(begins, known[method], read_causal_lm(known[method]), sides[0][CONTENT])

    return get


@pytest.mark.parametrize("method", ["lora", "full", "dora"])
def test_it_goes_on_from_the_weights_of_the_version_to_the_same_bits_twice(
    tmp_path, sides, decoder_config, earlier_of, method
):
    params, begins = decoder_config(method=method, epochs=1, accumulate=1), earlier_of(method)
    own, curve, report = trained(tmp_path / "one", sides, params, start=begins)
    rows = [chat_template.render(own.tokenizer, *row) for row in zip(sides[1]["text"], sides[1]["label"], strict=True)]
    before = causal_lm.load(begins.folder, "cpu").likelihood(rows)
    at_first = before.nll.sum() / before.tokens.sum()
    assert curve.points[0]["train_loss"] < 0.9 * base_loss(params, rows), "it begins as who has learned"
    assert report_loss(own, rows) < at_first
    assert (own.manifest.task, own.manifest.method) == ("instruct", method)
    if method != "full":
        kept = [PeftConfig.from_pretrained(folder / "adapter") for folder in (begins.folder, tmp_path / "one/model")]
        assert kept[0].r == kept[1].r == 8 and len(list((tmp_path / "one/model/adapter").iterdir())) == 2
    trained(tmp_path / "two", sides, params, start=begins)
    assert files(tmp_path / "one/model") == files(tmp_path / "two/model") != files(begins.folder)
    assert report["start"] == {"new_rows": 0, "corrected_rows": 0, "old_rows": 36, "gone_rows": 0}


def report_loss(own, rows):
    found = own.likelihood(rows)
    return found.nll.sum() / found.tokens.sum()


def test_without_a_step_it_is_the_version_that_it_started_from(sides, decoder_config, earlier_of):
    for method in ("lora", "full"):
        begins = earlier_of(method)
        _, network = load_start(train_context(decoder_config(method=method), Path(), QUIET), begins)
        network = add_adapter(network, decoder_config(method=method)).eval()
        there = causal_lm.load(begins.folder, "cpu").network
        rows = [TokenizedExample([5, 6, 7, 8], 1)]
        found = [generation.likelihood(each, rows, 1).nll for each in (network, there)]
        assert found[0] == pytest.approx(found[1], abs=1e-5)
        learning = {name for name, value in network.named_parameters() if value.requires_grad}
        assert learning and all(("lora_" in name) == (method == "lora") for name in learning)


def test_what_is_new_to_the_version_is_counted_and_a_refitted_one_is_warned_of(
    tmp_path, sides, decoder_config, earlier_of, make_replies
):
    train = pd.concat([sides[0].head(20), make_replies(10, seed=5)], ignore_index=True)
    train.loc[3, "label"] = "Another answer."
    params = decoder_config(epochs=1, refit=True)
    _, _, report = trained(tmp_path, (train, sides[1]), params, start=earlier_of("lora", refit=True))
    assert report["start"] == {"new_rows": 10 + 1 + 12, "corrected_rows": 1, "old_rows": 19, "gone_rows": 16}
    assert report["rows"] == 42
    assert any("writer/1 learned from its val rows too" in warning for warning in report["warnings"])


@pytest.mark.parametrize(("method", "changes", "error", "told"), [
    ("lora", {"rank": 4}, WrongUse, "the start's adapter has rank 8, alpha 16, rank_stabilised False"),
    ("lora", {"alpha": 32}, WrongUse, "the start's adapter has rank 8, alpha 16"),
    ("lora", {"method": "full"}, WrongUse, "train.method is 'full', its own is 'lora'"),
    ("full", {"method": "lora"}, WrongUse, "train.method is 'lora', its own is 'full'"),
    ("lora", {"template": "plain"}, WrongUse, "train.template is 'plain', its own is 'chatml'"),
    ("lora", {"base": Base("folder:/elsewhere", "0" * 64)}, WrongUse, "train.base.name is 'folder:/elsewhere'"),
    ("ia3", {"method": "ia3"}, Refused, "trained by method ia3, and only full, lora, qlora, dora can be gone on from"),
])  # fmt: skip
def test_params_that_belie_the_version_are_refused(
    tmp_path, sides, decoder_config, earlier_of, method, changes, error, told
):
    own = {name: changes[name] for name in changes if name in ("rank", "alpha")}
    params = decoder_config(method=method)
    params = replace(params, lora=replace(params.lora, **own), **{name: changes[name] for name in changes.keys() - own})
    with pytest.raises(error, match=told):
        trained(tmp_path, sides, params, start=earlier_of(method))


# ---------------------------------------------------------------- general examples


@pytest.fixture(scope="module")
def examples(make_replies):
    """Of two files, in which nothing is said that a row says."""
    made = make_replies(40, seed=9).assign(
        label="The noise is the cable, thanks.", source=["sums.csv", "words.jsonl"] * 20
    )
    return made.assign(id=[f"{file}:{number}" for number, file in enumerate(made["source"])])


def test_without_examples_nothing_is_other_than_it_was_whatever_the_share(tmp_path, sides, decoder_config, examples):
    _, curve, report = trained(tmp_path / "none", sides, decoder_config(epochs=1))
    for folder, share, given in (("empty", 0.3, examples.head(0)), ("nought", 0.0, examples)):
        _, again, told = trained(
            tmp_path / folder, sides, decoder_config(epochs=1, replay_share=share), replay_examples=given
        )
        assert files(tmp_path / folder / "model") == files(tmp_path / "none/model")
        assert again.points == curve.points
        assert {**told, "seconds": 0} == {**report, "seconds": 0}


@pytest.mark.parametrize("refit", [False, True])
def test_the_share_of_all_that_is_learned_is_general_and_told_apart(
    tmp_path, sides, decoder_config, examples, refit, monkeypatch
):
    seen = []
    plan = batch_plan.plan_steps
    monkeypatch.setattr(
        batch_plan, "plan_steps", lambda lengths, *rest: seen.append(len(lengths)) or plan(lengths, *rest)
    )
    params = decoder_config(epochs=1, refit=refit, replay_share=0.25)
    _, _, report = trained(tmp_path / "one", sides, params, replay_examples=examples)
    assert seen == ([36 + 12, 48 + 16] if refit else [36 + 12])
    rows, general = (48, 16) if refit else (36, 12)
    assert report["rows"] == rows, "an example is no row"
    told = report["general"]
    assert (told["rows"], told["share"], sum(told["files"].values())) == (general, 0.25, general)
    assert set(told["files"]) == {"sums.csv", "words.jsonl"} and told["supervised_tokens"] > 0
    plain = trained(tmp_path / "plain", sides, decoder_config(epochs=1, refit=refit))[2]
    assert (report["tokens"], report["supervised_tokens"]) == (plain["tokens"], plain["supervised_tokens"])
    assert files(tmp_path / "one/model") != files(tmp_path / "plain/model")

    trained(tmp_path / "two", sides, params, replay_examples=examples.sample(frac=1, random_state=3))
    assert files(tmp_path / "one/model") == files(tmp_path / "two/model"), "the seed alone draws"


def test_what_was_mixed_in_is_learned(tmp_path, sides, decoder_config, examples):
    said = {}
    for name, given in (("with", examples), ("without", None)):
        own, *_ = trained(
            tmp_path / name,
            sides,
            decoder_config(epochs=4, accumulate=1, replay_share=0.4),
            replay_examples=given,
        )
        rows = [chat_template.render(own.tokenizer, *row) for row in examples[["text", "label"]].head(8).to_numpy()]
        said[name] = own.likelihood(rows).nll.sum()
    assert said["with"] < 0.9 * said["without"]


def test_another_seed_draws_other_examples(sides, decoder_config, examples, tiny_causal_lm):
    tokenizer = chat_template.load(tiny_causal_lm)
    chat_template.choose(tokenizer, "chatml")
    drawn = [
        decoder_examples.draw_replay(examples, 20, tokenizer, decoder_config(seed=seed, replay_share=0.2)).rows
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_too_few_examples_and_such_as_are_too_long_are_told(tmp_path, sides, decoder_config, examples, capsys):
    long = examples.head(6).assign(label=["words " * 200, *["It is four."] * 5])
    _, _, report = trained(tmp_path, sides, decoder_config(epochs=1, replay_share=0.5), replay_examples=long)
    assert report["general"]["rows"] == 5
    warning = report["warnings"][-1]
    assert "asks for 36 general examples beside 36 rows: only 5 are there and short enough" in warning
    assert warning in capsys.readouterr().out


@pytest.mark.parametrize("method", ["full", "lora", "ia3", "prompt"])
def test_a_usual_learning_rate_is_no_cause_for_a_warning_and_another_is(decoder_config, method):
    section = getattr(decoder_config(), method)
    for rate, warned in ((1e-5, True), (sft.USUAL_RATES[method][0], False), (1.0, True)):
        found = unusual_rate(decoder_config(method=method, **{method: replace(section, learning_rate=rate)}))
        if method == "full" and rate == 1e-5:
            assert found == []
        else:
            assert bool(found) == warned


def test_ia3_and_prompt_tuning_are_used_to_fifty_times_the_rate_of_a_whole_network():
    for method in ("ia3", "prompt"):
        assert sft.USUAL_RATES[method][0] >= 40 * sft.USUAL_RATES["lora"][0]


def test_a_row_that_supervises_nothing_is_refused_with_its_number():
    with pytest.raises(Refused, match=re.escape("2 rows supervise no token, such as row 1, 2")):
        decoder_examples.check_rows(
            [TokenizedExample([1, 2], 1), TokenizedExample([1, 2], 2), TokenizedExample([1], 0)], 10
        )


def test_a_tokenizer_that_knows_more_than_the_base_is_refused():
    with pytest.raises(Refused, match="knows a token 10, and the base has 10"):
        decoder_examples.check_rows([TokenizedExample([1, 10], 1)], 10)


def test_rows_that_are_too_long_are_counted_and_left_out_or_cut(tmp_path, sides, decoder_config):
    tokenizer = chat_template.load(Path(decoder_config().base.name.removeprefix("folder:")))
    chat_template.choose(tokenizer, "chatml")
    rows = [row for side in sides for row in decoder_examples.render(side, tokenizer, 1000, "drop").rows]
    most = sorted(len(row.tokens) for row in rows)[len(rows) // 2]
    _, _, dropped = trained(tmp_path / "drop", sides, decoder_config(max_tokens=most, epochs=1))
    _, _, cut = trained(tmp_path / "cut", sides, decoder_config(max_tokens=most, epochs=1, too_long="cut_prompt"))
    assert dropped["left_out_rows"] == cut["cut_rows"] == sum(len(row.tokens) > most for row in rows) > 0
    assert dropped["cut_rows"] == cut["left_out_rows"] == 0
    with pytest.raises(Refused, match=re.escape("longer than train.max_tokens, 8")):
        trained(tmp_path / "none", sides, decoder_config(max_tokens=8))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"batch_tokens": 64}, "one row may take 128"),
        ({"method": "prompt", "batch_tokens": 130}, "one row may take 132"),
        ({"method": "full", "base_precision": "fp8"}, "only method lora without dropout"),
    ],
)
def test_params_that_cannot_go_together_are_refused(tmp_path, sides, decoder_config, changes, told):
    precision = changes.pop("base_precision", "bf16")
    with pytest.raises(WrongUse, match=told):
        trained(
            tmp_path, sides, decoder_config(lora=replace(decoder_config().lora, base_precision=precision), **changes)
        )


@pytest.mark.parametrize("changes", [{"method": "qlora"}, {"base_precision": "fp8"}], ids=["qlora", "fp8"])
def test_what_needs_a_gpu_is_refused_without_one_with_what_to_do(tmp_path, sides, decoder_config, changes):
    precision = changes.pop("base_precision", "bf16")
    with pytest.raises(Refused, match="write train"):
        trained(
            tmp_path, sides, decoder_config(lora=replace(decoder_config().lora, base_precision=precision), **changes)
        )


# ---------------------------------------------------------------- room


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_training_whose_weights_have_no_room_is_refused_before_any_is_loaded(
    tmp_path, sides, decoder_config, monkeypatch, method
):
    """The base is another than it says, which is found out when it is loaded."""
    monkeypatch.setattr(memory_check, "find", lambda cuda: memory_check.AvailableMemory(100_000, "in a thimble"))
    params = decoder_config(method=method, base=replace(decoder_config().base, sha256="0" * 64))
    with pytest.raises(Refused, match=r"0\.00 GiB for weights, gradients and Adam's moments alone.*thimble"):
        trained(tmp_path, sides, params)


def test_a_training_that_may_not_fit_is_told_so_and_goes_on(decoder_config, capsys):
    params = decoder_config(batch_tokens=2048)
    shape = compute_estimate.shape_of(Path(params.base.name.removeprefix("folder:")))
    need = compute_estimate.memory(shape, params, bf16=False)
    device = torch.device("cpu")
    checks.check_memory(params, device, memory_check.AvailableMemory(need.peak, "here"))
    assert capsys.readouterr().out == ""
    checks.check_memory(params, device, memory_check.AvailableMemory(need.peak - 1, "here"))
    told = capsys.readouterr().out
    assert told.startswith("warning: May not fit into memory: needs about")
    assert "train.gradient_checkpointing=true; train.batch_tokens=1024 with train.accumulate=4" in told
    with pytest.raises(Refused, match="are free here"):
        checks.check_memory(params, device, memory_check.AvailableMemory(need.certain - 1, "here"))


def test_a_base_whose_shape_nobody_can_read_is_trained_without_a_verdict(tmp_path, decoder_config, capsys):
    own = shutil.copytree(decoder_config().base.name.removeprefix("folder:"), tmp_path / "base")
    (own / "config.json").write_text('{"model_type": "odd"}')
    params = decoder_config(base=replace(decoder_config().base, name=f"folder:{own}"))
    checks.check_memory(params, torch.device("cpu"), memory_check.AvailableMemory(1, "here"))
    assert "it is unknown whether the training fits into memory" in capsys.readouterr().out
