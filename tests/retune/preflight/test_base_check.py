import json
from types import SimpleNamespace

import pytest

from retune.errors import Refused, WrongUse
from retune.models import chat_template
from retune.preflight import base_check


def section(folder, max_tokens, method="full", virtual_tokens=0):
    base = SimpleNamespace(name=f"folder:{folder}")
    prompt = SimpleNamespace(virtual_tokens=virtual_tokens)
    return SimpleNamespace(base=base, max_tokens=max_tokens, method=method, prompt=prompt)


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512}, 512),
        ({"model_type": "gpt2", "n_positions": 1024}, 1024),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "mpnet", "max_position_embeddings": 514}, 512),
        ({"model_type": "deberta-v2", "max_position_embeddings": 512, "position_biased_input": False}, None),
        ({"model_type": "t5"}, None),
        ({"model_type": "xlnet", "max_position_embeddings": -1}, None),
        ({"model_type": "gemma3", "text_config": {"max_position_embeddings": 8192}}, 8192),
    ],
)
def test_a_base_reads_as_many_tokens_as_it_has_positions_for(config, limit):
    assert base_check.positions(config) == limit


def test_more_tokens_than_positions_are_refused_with_the_number_to_write(tiny_base):
    limit = json.loads((tiny_base / "config.json").read_text())["max_position_embeddings"]
    assert "its tokenizer can be saved" in base_check.require(section(tiny_base, limit))
    message = (
        rf"train.max_tokens is {limit + 1}, .*reads at most {limit} tokens: write train.max_tokens: {limit} or less"
    )
    with pytest.raises(WrongUse, match=message):
        base_check.require(section(tiny_base, limit + 1))


def test_virtual_tokens_need_positions_too(tiny_base):
    limit = json.loads((tiny_base / "config.json").read_text())["max_position_embeddings"]
    with pytest.raises(WrongUse, match=f"with 8 virtual tokens, .*max_tokens: {limit - 8} or less"):
        base_check.require(section(tiny_base, limit, "prompt", 8))


def test_a_base_that_is_not_here_yet_is_checked_later():
    train = section("", 128)
    train.base.name = f"hub:nobody/nothing@{'0' * 40}"
    assert base_check.require(train).startswith("not checked: ")


def test_a_tokenizer_written_in_python_is_saved(tmp_path):
    from transformers import ByT5Tokenizer

    ByT5Tokenizer().save_pretrained(tmp_path)
    base_check.require_savable(chat_template.load(tmp_path), "folder:byt5")


def test_a_tokenizer_that_cannot_be_saved_is_refused(tiny_base):
    class Stubborn:
        def save_pretrained(self, folder):
            raise NotImplementedError("no vocabulary file")

    with pytest.raises(
        Refused, match=r"the tokenizer of the base x cannot be saved \(NotImplementedError: no vocabulary"
    ):
        base_check.require_savable(Stubborn(), "x")
