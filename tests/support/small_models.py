"""A base that trains in a second: a two-layer BERT over thirty words, and tickets written in those words."""

import json
import random
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pandas as pd
import pytest
import yaml

from retune.config import params
from retune.data.row_table import COLUMNS

ROOT = Path(__file__).parent.parent.parent
OWN_WORDS = {
    "bills": ["invoice", "charged", "paid", "amount", "card", "bank"],
    "parcels": ["courier", "door", "arrived", "box", "lost", "address"],
    "repairs": ["broken", "screen", "restart", "noise", "cable", "error"],
}
ANY_WORDS = ["hello", "please", "the", "my", "is", "was", "and", "thanks", "today", "again"]


def tickets(count, seed=1, labels=tuple(OWN_WORDS)):
    """Rows whose label shows in some of their words; every sixth is mostly noise, so that no model is perfect."""
    draw = random.Random(seed)
    made = []
    for number in range(count):
        label = labels[number % len(labels)]
        own = draw.choices(OWN_WORDS[label], k=1 + 2 * (number % 6 > 0))
        words = [*own, *draw.choices(ANY_WORDS, k=draw.randint(2, 12))]
        draw.shuffle(words)
        made.append((f"r{seed}-{number:04d}", " ".join(words), label, "", "desk", ""))
    return pd.DataFrame(made, columns=list(COLUMNS)).astype("str")


@pytest.fixture(scope="session")
def make_tickets():
    return tickets


@pytest.fixture
def record():
    """A whole record of made-up facts that fit together: two sources, four labels, a champion that was beaten."""
    return json.loads(Path(__file__).with_name("record.json").read_text("utf-8"))


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory):
    """The folder of a base with random weights, always the same ones."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("base")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *ANY_WORDS, *chain(*OWN_WORDS.values())]
    BertTokenizer(vocab={word: number for number, word in enumerate(words)}).save_pretrained(folder)
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def settings(tiny_base):
    """The shipped params.yaml as a dict, but for the tiny base and a training of seconds."""
    from retune.models.base_model import weights_sha256

    values = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
    values["train"] |= {
        "method": "full",
        "base": {"name": f"folder:{tiny_base}", "sha256": weights_sha256(tiny_base)},
        "device": "cpu",
        "precision": "fp32",
        "max_tokens": 32,
        "full": {"learning_rate": 1.0e-3},
        "batch_size": 8,
        "epochs": 2,
        "checkpoint_seconds": 0.0,
        "refit": False,
        "class_weights": "none",
    }
    values["evaluate"] |= {"bootstrap": 100, "batch_size": 16}
    values["promote"] |= {"bootstrap": 200}
    return values


@pytest.fixture(scope="session")
def knobs(settings):
    """The train section of `settings`, with changes: `knobs(epochs=3)`."""
    chosen = params.parse(settings).train
    return lambda **changes: replace(chosen, **changes)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory, knobs):
    """A small model folder of method probe: the quickest that there is."""
    from tasks.train.context import train_context
    from tasks.train.encoder.fit import fit

    work = tmp_path_factory.mktemp("probe")
    train, val = tickets(60), tickets(30, seed=2)
    context = train_context(knobs(method="probe"), work / "work", lambda *_, **__: None)
    fit(train, val, context).save(work / "model")
    return work / "model"


@pytest.fixture(scope="session")
def store_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def store(store_folder, monkeypatch):
    """A real registry in a SQLite file, one a session, since making its tables takes seconds: names are the test's.

    `mlflow.set_tracking_uri` writes into the environment, so what it wrote is taken back afterwards.
    """
    monkeypatch.chdir(store_folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    return store_folder


# ---------------------------------------------------------------- models that write

REPLIES = {
    "bills": "We have sent the invoice again; the amount was charged to your card once.",
    "parcels": "The courier comes again today, so please leave the door open for the box.",
    "repairs": "Please restart the screen and check the cable; if the error stays, call us.",
}


def replies(count, seed=1):
    """Rows of task instruct: a ticket as one message, and an answer that follows from its label."""
    frame = tickets(count, seed)
    asked = [[{"role": "user", "content": text}] for text in frame["text"]]
    frame["text"] = [json.dumps(each, ensure_ascii=False, separators=(",", ":")) for each in asked]
    frame["label"] = [REPLIES[label] for label in frame["label"]]
    return frame


@pytest.fixture(scope="session")
def make_replies():
    return replies


@pytest.fixture(scope="session")
def tiny_writer(tmp_path_factory, make_writer):
    """The folder of a Llama of two layers with random weights, and a tokenizer trained on the replies."""
    texts = [*replies(300)["text"], *REPLIES.values(), "system user assistant"]
    return make_writer(tmp_path_factory.mktemp("writer"), texts)
