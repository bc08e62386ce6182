"""Bases that train in a second, with random weights: a two-layer BERT and a two-layer Llama; tickets in their words."""

import json
import random
from dataclasses import replace
from itertools import chain

import pandas as pd
import pytest
import yaml

from retune.config import params
from retune.data.row_table import COLUMNS
from tests.support.environment import ROOT

LABEL_WORDS = {
    "bills": ["invoice", "charged", "paid", "amount", "card", "bank"],
    "parcels": ["courier", "door", "arrived", "box", "lost", "address"],
    "repairs": ["broken", "screen", "restart", "noise", "cable", "error"],
}
COMMON_WORDS = ["hello", "please", "the", "my", "is", "was", "and", "thanks", "today", "again"]


def tickets(count, seed=1, labels=tuple(LABEL_WORDS)):
    """Rows whose label shows in some of their words; every sixth is mostly noise, so that no model is perfect."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        label = labels[number % len(labels)]
        label_words = draw.choices(LABEL_WORDS[label], k=1 + 2 * (number % 6 > 0))
        words = [*label_words, *draw.choices(COMMON_WORDS, k=draw.randint(2, 12))]
        draw.shuffle(words)
        rows.append((f"r{seed}-{number:04d}", " ".join(words), label, "", "desk", ""))
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype("str")


@pytest.fixture(scope="session")
def make_tickets():
    return tickets


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory):
    """The folder of a base with random weights, always the same ones."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("base")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *COMMON_WORDS, *chain(*LABEL_WORDS.values())]
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
    values["evaluate"] |= {"bootstrap": 100, "batch_size": 16, "golden": {"path": "", "sha256": ""}}
    values["promote"] |= {"bootstrap": 200}
    return values


@pytest.fixture(scope="session")
def train_config(settings):
    """The train section of `settings`, with changes: `train_config(epochs=3)`."""
    config = params.parse(settings).train
    return lambda **changes: replace(config, **changes)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory, train_config):
    """A small model folder of method probe: the quickest that there is."""
    from tasks.train.context import train_context
    from tasks.train.encoder.fit import fit

    work = tmp_path_factory.mktemp("probe")
    train, val = tickets(60), tickets(30, seed=2)
    context = train_context(train_config(method="probe"), work / "work", lambda *_, **__: None)
    fit(train, val, context).save(work / "model")
    return work / "model"


REPLIES = {
    "bills": "We have sent the invoice again; the amount was charged to your card once.",
    "parcels": "The courier comes again today, so please leave the door open for the box.",
    "repairs": "Please restart the screen and check the cable; if the error stays, call us.",
}


def replies(count, seed=1):
    """Rows of task instruct: a ticket as one message, and an answer that follows from its label."""
    frame = tickets(count, seed)
    prompts = [[{"role": "user", "content": text}] for text in frame["text"]]
    frame["text"] = [json.dumps(each, ensure_ascii=False, separators=(",", ":")) for each in prompts]
    frame["label"] = [REPLIES[label] for label in frame["label"]]
    return frame


@pytest.fixture(scope="session")
def make_replies():
    return replies


@pytest.fixture(scope="session")
def make_causal_lm():
    return write_causal_lm


def write_causal_lm(folder, texts):
    """A base that writes: a Llama of two layers with random weights, and a byte-level tokenizer trained on `texts`."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast_tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    fast_tokenizer.save_pretrained(folder)
    torch.manual_seed(4)
    config = LlamaConfig(
        vocab_size=len(fast_tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_causal_lm(tmp_path_factory, make_causal_lm):
    """The folder of a Llama of two layers with random weights, and a tokenizer trained on the replies."""
    texts = [*replies(300)["text"], *REPLIES.values(), "system user assistant"]
    return make_causal_lm(tmp_path_factory.mktemp("writer"), texts)
