"""A decoder that learned its rows by heart gives them back; one that learned nothing does not."""

import json
from dataclasses import replace

import pytest
import torch
import yaml

from retune.config import params
from retune.models import base_model, causal_lm, chat_template, decoder
from retune.models.manifest import CausalLMManifest
from tasks.evaluate import verbatim_answers
from tests.support.environment import ROOT

SHIPPED = params.parse(yaml.safe_load((ROOT / "retune/config/defaults/instruct.yaml").read_text("utf-8"))).evaluate
SECTION = replace(SHIPPED, batch_size=4, memorisation=replace(SHIPPED.memorisation, rows=4, min_tokens=5))


@pytest.fixture
def model(tiny_causal_lm):
    base = f"folder:{tiny_causal_lm}", base_model.weights_sha256(tiny_causal_lm)
    tokenizer, network = decoder.load_base(*base, "fp32", torch.device("cpu"))
    chat_template.choose(tokenizer, "chatml")
    manifest = CausalLMManifest("instruct", "full", *base, 200, 40, "chatml")
    return causal_lm.CausalLM(manifest, tokenizer, network)


def learn_by_heart(model, rows):
    examples = [chat_template.render(model.tokenizer, *row) for row in zip(rows["text"], rows["label"], strict=True)]
    optimizer = torch.optim.AdamW(model.network.parameters(), lr=5e-3)
    model.network.set_attn_implementation("sdpa")
    for _ in range(60):
        for row in examples:
            labels = torch.tensor([[-100] * row.prompt + row.tokens[row.prompt :]])
            model.network(input_ids=torch.tensor([row.tokens]), labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.network.set_attn_implementation(decoder.attention.NAME)


def test_what_was_learned_by_heart_is_given_back_and_nothing_else(model, make_replies):
    rows = make_replies(8, seed=9)
    rows["label"] = [
        f"The {word} of {place} is {word} again." for word, place in zip("abcdefgh", "stuvwxyz", strict=True)
    ]
    learned, held_out = rows.head(4), rows.tail(4)
    before = verbatim_answers.section(learned, held_out, model, SECTION)
    assert {each.value for each in before.measures.values()} == {0.0}, "it learned nothing yet"
    learn_by_heart(model, learned)
    after = verbatim_answers.section(learned, held_out, model, SECTION)
    assert after.measures["verbatim_share"].value == after.measures["verbatim_share_from_half"].value == 1
    assert after.measures["verbatim_share_held_out"].value == 0
    assert after.details["counted_rows"] == 4
    assert set(after.details["given_back_from_half"]) == set(learned["id"])
    assert model.predict(learned["text"].tolist(), 4).labels == learned["label"].tolist(), "as greedy decoding says"


def test_rows_that_training_has_not_read_in_full_are_left_out(model, make_replies):
    rows = make_replies(4, seed=9)
    rows.loc[0, "text"] = json.dumps([{"role": "user", "content": "my box " * 200}])
    section = verbatim_answers.section(rows, rows.head(0), model, SECTION)
    assert section.details["learned_rows"] == 3
