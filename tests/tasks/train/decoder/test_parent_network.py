"""Training that goes on from an earlier version."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from peft import PeftConfig

from retune.config.common import Base
from retune.errors import Refused, WrongUse
from retune.lineage.parent_version import ParentVersion
from retune.models import causal_lm, chat_template, generation
from retune.models.chat_template import TokenizedExample
from retune.models.manifest import read_causal_lm
from tasks.train.context import train_context
from tasks.train.decoder.network import add_adapter, load_start
from tasks.train.parent import CONTENT, ParentCausalLM
from tests.support.sft import QUIET, base_loss, trained
from tests.support.tree_hashes import file_hashes


@pytest.fixture(scope="module")
def parent_of(tmp_path_factory, reply_tables, decoder_config):
    """method -> a version of that method that has learned the train side; made once each."""
    versions = {}

    def get(method, refit=False):
        if method not in versions:
            folder = tmp_path_factory.mktemp(method)
            trained(folder, reply_tables, decoder_config(method=method, epochs=3, accumulate=1))
            versions[method] = folder / "model"
        begins = ParentVersion("writer/1", "5" * 64, "c" * 40, "f" * 64, "1" * 32 + ".dir", "2" * 32, "3" * 32, refit)
        return ParentCausalLM(begins, versions[method], read_causal_lm(versions[method]), reply_tables[0][CONTENT])

    return get


@pytest.mark.parametrize("method", ["lora", "full", "dora"])
def test_it_goes_on_from_the_weights_of_the_version_to_the_same_bits_twice(
    tmp_path, reply_tables, decoder_config, parent_of, method
):
    params, begins = decoder_config(method=method, epochs=1, accumulate=1), parent_of(method)
    model, curve, report = trained(tmp_path / "one", reply_tables, params, start=begins)
    rows = [
        chat_template.render(model.tokenizer, *row)
        for row in zip(reply_tables[1]["text"], reply_tables[1]["label"], strict=True)
    ]
    before = causal_lm.load(begins.folder, "cpu").likelihood(rows)
    at_first = before.nll.sum() / before.tokens.sum()
    assert curve.points[0]["train_loss"] < 0.9 * base_loss(params, rows), "it begins as who has learned"
    assert report_loss(model, rows) < at_first
    assert (model.manifest.task, model.manifest.method) == ("instruct", method)
    if method != "full":
        adapter_configs = [
            PeftConfig.from_pretrained(folder / "adapter") for folder in (begins.folder, tmp_path / "one/model")
        ]
        assert (
            adapter_configs[0].r == adapter_configs[1].r == 8
            and len(list((tmp_path / "one/model/adapter").iterdir())) == 2
        )
    trained(tmp_path / "two", reply_tables, params, start=begins)
    assert file_hashes(tmp_path / "one/model") == file_hashes(tmp_path / "two/model") != file_hashes(begins.folder)
    assert report["start"] == {"new_rows": 0, "corrected_rows": 0, "old_rows": 36, "gone_rows": 0}


def report_loss(model, rows):
    likelihood = model.likelihood(rows)
    return likelihood.nll.sum() / likelihood.tokens.sum()


def test_without_a_step_it_is_the_version_that_it_started_from(reply_tables, decoder_config, parent_of):
    for method in ("lora", "full"):
        begins = parent_of(method)
        _, network = load_start(train_context(decoder_config(method=method), Path(), QUIET), begins)
        network = add_adapter(network, decoder_config(method=method)).eval()
        network_before = causal_lm.load(begins.folder, "cpu").network
        rows = [TokenizedExample([5, 6, 7, 8], 1)]
        losses = [generation.likelihood(each, rows, 1).nll for each in (network, network_before)]
        assert losses[0] == pytest.approx(losses[1], abs=1e-5)
        learning = {name for name, value in network.named_parameters() if value.requires_grad}
        assert learning and all(("lora_" in name) == (method == "lora") for name in learning)


def test_what_is_new_to_the_version_is_counted_and_a_refitted_one_is_warned_of(
    tmp_path, reply_tables, decoder_config, parent_of, make_replies
):
    train = pd.concat([reply_tables[0].head(20), make_replies(10, seed=5)], ignore_index=True)
    train.loc[3, "label"] = "Another answer."
    params = decoder_config(epochs=1, refit=True)
    _, _, report = trained(tmp_path, (train, reply_tables[1]), params, start=parent_of("lora", refit=True))
    assert report["start"] == {"new_rows": 10 + 1 + 12, "corrected_rows": 1, "old_rows": 19, "gone_rows": 16}
    assert report["rows"] == 42
    assert any("writer/1 learned from its val rows too" in warning for warning in report["warnings"])


@pytest.mark.parametrize(("method", "changes", "error", "message"), [
    ("lora", {"rank": 4}, WrongUse, "the start's adapter has rank 8, alpha 16, rank_stabilised False"),
    ("lora", {"alpha": 32}, WrongUse, "the start's adapter has rank 8, alpha 16"),
    ("lora", {"method": "full"}, WrongUse, "train.method is 'full', its own is 'lora'"),
    ("full", {"method": "lora"}, WrongUse, "train.method is 'lora', its own is 'full'"),
    ("lora", {"template": "plain"}, WrongUse, "train.template is 'plain', its own is 'chatml'"),
    ("lora", {"base": Base("folder:/elsewhere", "0" * 64)}, WrongUse, "train.base.name is 'folder:/elsewhere'"),
    ("ia3", {"method": "ia3"}, Refused, "trained by method ia3, and only full, lora, qlora, dora can be gone on from"),
])  # fmt: skip
def test_params_that_belie_the_version_are_refused(
    tmp_path, reply_tables, decoder_config, parent_of, method, changes, error, message
):
    lora_changes = {name: changes[name] for name in changes if name in ("rank", "alpha")}
    params = decoder_config(method=method)
    params = replace(
        params,
        lora=replace(params.lora, **lora_changes),
        **{name: changes[name] for name in changes.keys() - lora_changes},
    )
    with pytest.raises(error, match=message):
        trained(tmp_path, reply_tables, params, start=parent_of(method))
