"""What `retune predict` tells of a model that writes: asked for real, in this process."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from flows.cli import explain, models
from flows.project import environment
from retune.errors import WrongUse
from retune.models import causal_lm, chat_template, classifier, decoder, explanation, loading, routing
from retune.models.base_model import weights_sha256
from retune.models.manifest import CausalLMManifest
from retune.registry import versions
from retune.serving import explainer

READS = 64 - 12  # of the prompt: what the answer leaves of max_tokens


@pytest.fixture(scope="module")
def causal_lm_folder(make_causal_lm, tmp_path_factory):
    """A model folder of a Llama of two layers with random weights."""
    texts = ["Where is my parcel? It is late, and the invoice is wrong.", "system user assistant"] * 20
    base = make_causal_lm(tmp_path_factory.mktemp("writer"), texts)
    name, sha256 = f"folder:{base}", weights_sha256(base)
    tokenizer, network = decoder.load_base(name, sha256, "fp32", torch.device("cpu"))
    chat_template.choose(tokenizer, "chatml")
    folder = tmp_path_factory.mktemp("saved")
    causal_lm.save(folder, CausalLMManifest("instruct", "full", name, sha256, 64, 12, "chatml"), tokenizer, network)
    return folder


@pytest.fixture
def predict(causal_lm_folder, monkeypatch):
    """The command, for which every name is that of this model."""
    monkeypatch.setattr(environment, "activate_project", lambda: None)
    monkeypatch.setattr(versions, "resolve", lambda name: name)
    monkeypatch.setattr(versions, "model_folder", lambda version: causal_lm_folder)
    return lambda *words: CliRunner().invoke(models.predict, ["writer@champion", *words])


def test_a_prompt_that_is_cut_is_told_with_its_tokens(predict):
    done = predict("Where is my parcel?", "invoice " * 400, "--json")
    assert done.exit_code == 0, done.output
    warning, reason = done.stderr.splitlines()
    assert reason.startswith("every answer goes to a person: ")
    assert warning.startswith("text 2 of 2 has ") and int(warning.split()[5]) > 400
    assert warning.endswith(f"and the model reads {READS}: its beginning is left out")
    assert len(json.loads(done.stdout)) == 2


def test_what_it_writes_is_called_an_answer_and_a_row_stays_a_row(predict, monkeypatch):
    predictions = classifier.Predictions(["Dear customer,\n\nit is late.\r\nYours"], np.array([0.5]), np.array([9]))
    monkeypatch.setattr(causal_lm.CausalLM, "predict", lambda self, texts: predictions)
    head, row = predict("Where is\nmy parcel?").stdout.splitlines()
    assert head.split() == ["answer", "confidence", "route", "text"]
    assert re.split(" {2,}", row) == [
        r"Dear customer,\n\nit is late.\nYours",
        "0.500",
        "human",
        r"Where is\nmy parcel?",
    ]
    (answer,) = json.loads(predict("Where is\nmy parcel?", "--json").stdout)
    assert answer == {
        "text": "Where is\nmy parcel?",
        "label": predictions.labels[0],
        "confidence": 0.5,
        "route": "human",
    }


def test_a_class_is_called_a_label(predict, monkeypatch):
    fixed = SimpleNamespace(predict=lambda texts: classifier.Predictions(["billing"], np.array([0.5])))
    monkeypatch.setattr(loading, "load", lambda folder: fixed)
    assert predict("a bill").stdout.splitlines()[0].split() == ["label", "confidence", "route", "text"]


def test_the_route_follows_from_the_version_s_threshold_and_a_version_without_one_says_why(
    predict, monkeypatch, tmp_path
):
    fixed = SimpleNamespace(predict=lambda texts: classifier.Predictions(["billing", "returns"], np.array([0.99, 0.5])))
    monkeypatch.setattr(loading, "load", lambda folder: fixed)
    without = predict("a bill", "a parcel", "--json")
    assert [each["route"] for each in json.loads(without.stdout)] == ["human", "human"]
    assert without.stderr.startswith("every answer goes to a person: this version carries no automation.json")

    (tmp_path / routing.FILE).write_text('{"threshold": 0.9, "labels": {}, "reason": "proved on test"}', "utf-8")
    monkeypatch.setattr(versions, "model_folder", lambda version: tmp_path)
    with_threshold = predict("a bill", "a parcel", "--json")
    assert [each["route"] for each in json.loads(with_threshold.stdout)] == ["auto", "human"]
    assert with_threshold.stderr == ""


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (b"fine\nStra\xdfe falsch\n", "line 2 of standard input is not UTF-8: byte 5 (0xdf)"),
        ("Straße".encode("utf-16"), "line 1 of standard input is not UTF-8: byte 1 (0xff)"),
    ],
)
def test_a_line_of_standard_input_that_is_not_utf8_is_named(monkeypatch, lines, message):
    monkeypatch.setattr(environment, "activate_project", lambda: None)
    result = CliRunner().invoke(models.predict, ["writer/1", "-"], input=lines)
    assert isinstance(result.exception, WrongUse)
    assert message in str(result.exception)


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (["- where is it?", "--json", "late"], ("- where is it?", "late")),
        (["--json", "--", "-5"], ("-5",)),
    ],
)
def test_a_text_may_begin_with_a_dash(words, texts):
    context = models.predict.make_context("predict", ["writer/1", *words])
    assert (context.params["texts"], context.params["json_"]) == (texts, True)


def test_an_answer_is_explained_by_words_rows_and_the_commands_that_tell_more(predict, monkeypatch):
    fixed = SimpleNamespace(predict=lambda texts: classifier.Predictions(["billing"], np.array([0.5])))
    monkeypatch.setattr(loading, "load", lambda folder: fixed)
    word = explanation.WordWeight("bill", 2, 0.25)
    row = explainer.Neighbour("T 1", 0.98, "desk", "billing", "a bill\nagain")
    answer = explainer.Explanation([word], [row], "")
    monkeypatch.setattr(explain, "explanations", lambda *_: [answer])
    monkeypatch.setattr(versions, "version_folder", lambda version: version)
    lines = predict("a bill", "--explain").stdout.splitlines()
    assert "probability that each word brought: bill +0.250" in lines
    assert re.split(" {2,}", lines[-2]) == ["T 1", "0.980", "billing", "desk", r"a bill\nagain"]
    assert "`retune lineage row 'T 1'` the nearest row" in lines[-1]
    (value,) = json.loads(predict("a bill", "--explain", "--json").stdout)
    assert value["explanation"]["neighbours"][0]["lineage"] == "retune lineage row 'T 1'"
    assert value["explanation"]["words"] == [{"word": "bill", "place": 2, "loss": 0.25}]
