"""Rows that are learned from, and general examples mixed in with them."""

import re
from pathlib import Path

import pandas as pd
import pytest
import torch

from retune.data import messages
from retune.errors import Refused
from retune.models import chat_template, decoder, generation
from retune.models.chat_template import TokenizedExample
from tasks.train.decoder import batch_plan
from tasks.train.decoder import examples as decoder_examples
from tests.support.sft import trained
from tests.support.tree_hashes import file_hashes


def test_without_examples_nothing_is_other_than_it_was_whatever_the_share(
    tmp_path, reply_tables, decoder_config, general_examples
):
    _, curve, report = trained(tmp_path / "none", reply_tables, decoder_config(epochs=1))
    for folder, share, general_rows in (("empty", 0.3, general_examples.head(0)), ("nought", 0.0, general_examples)):
        _, again, share_report = trained(
            tmp_path / folder, reply_tables, decoder_config(epochs=1, replay_share=share), replay_examples=general_rows
        )
        assert file_hashes(tmp_path / folder / "model") == file_hashes(tmp_path / "none/model")
        assert again.points == curve.points
        assert {**share_report, "seconds": 0} == {**report, "seconds": 0}


@pytest.mark.slow
@pytest.mark.parametrize("refit", [False, True])
def test_the_share_of_all_that_is_learned_is_general_and_told_apart(
    tmp_path, reply_tables, decoder_config, general_examples, refit, monkeypatch
):
    row_counts = []
    plan = batch_plan.plan_steps
    monkeypatch.setattr(
        batch_plan, "plan_steps", lambda lengths, *rest: row_counts.append(len(lengths)) or plan(lengths, *rest)
    )
    params = decoder_config(epochs=1, refit=refit, replay_share=0.25)
    _, _, report = trained(tmp_path / "one", reply_tables, params, replay_examples=general_examples)
    assert row_counts == ([36 + 12, 48 + 16] if refit else [36 + 12])
    rows, general = (48, 16) if refit else (36, 12)
    assert report["rows"] == rows, "an example is no row"
    general_report = report["general"]
    assert (general_report["rows"], general_report["share"], sum(general_report["files"].values())) == (
        general,
        0.25,
        general,
    )
    assert set(general_report["files"]) == {"sums.csv", "words.jsonl"} and general_report["supervised_tokens"] > 0
    plain = trained(tmp_path / "plain", reply_tables, decoder_config(epochs=1, refit=refit))[2]
    assert (report["tokens"], report["supervised_tokens"]) == (plain["tokens"], plain["supervised_tokens"])
    assert file_hashes(tmp_path / "one/model") != file_hashes(tmp_path / "plain/model")

    trained(tmp_path / "two", reply_tables, params, replay_examples=general_examples.sample(frac=1, random_state=3))
    assert file_hashes(tmp_path / "one/model") == file_hashes(tmp_path / "two/model"), "the seed alone draws"


@pytest.mark.slow
def test_what_was_mixed_in_is_learned(tmp_path, reply_tables, decoder_config, general_examples):
    answers = {}
    for name, general_rows in (("with", general_examples), ("without", None)):
        model, *_ = trained(
            tmp_path / name,
            reply_tables,
            decoder_config(epochs=4, accumulate=1, replay_share=0.4),
            replay_examples=general_rows,
        )
        rows = [
            chat_template.render(model.tokenizer, *row)
            for row in general_examples[["text", "label"]].head(8).to_numpy()
        ]
        answers[name] = model.likelihood(rows).nll.sum()
    assert answers["with"] < 0.9 * answers["without"]


def test_another_seed_draws_other_examples(reply_tables, decoder_config, general_examples, tiny_causal_lm):
    tokenizer = chat_template.load(tiny_causal_lm)
    chat_template.choose(tokenizer, "chatml")
    drawn = [
        decoder_examples.draw_replay(general_examples, 20, tokenizer, decoder_config(seed=seed, replay_share=0.2)).rows
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_too_few_examples_and_such_as_are_too_long_are_told(
    tmp_path, reply_tables, decoder_config, general_examples, capsys
):
    long = general_examples.head(6).assign(label=["words " * 200, *["It is four."] * 5])
    _, _, report = trained(tmp_path, reply_tables, decoder_config(epochs=1, replay_share=0.5), replay_examples=long)
    assert report["general"]["rows"] == 5
    warning = report["warnings"][-1]
    assert "asks for 36 general examples beside 36 rows: only 5 are there and short enough" in warning
    assert warning in capsys.readouterr().out


def test_a_row_that_supervises_nothing_is_refused_with_its_number():
    with pytest.raises(Refused, match=re.escape("2 rows supervise no token, such as row 1, 2")):
        decoder_examples.check_rows(
            [TokenizedExample([1, 2], 1), TokenizedExample([1, 2], 2), TokenizedExample([1], 0)], 10
        )


def test_all_answers_of_a_conversation_cost_one_row_what_they_cost_in_a_row_each(decoder_config):
    base = decoder_config().base
    tokenizer, network = decoder.load_base(base.name, base.sha256, "fp32", torch.device("cpu"))
    chat_template.choose(tokenizer, "chatml")
    spoken_turns = [("user", "Where is the box?"), ("assistant", "The courier comes again."), ("user", "Thanks, when?")]
    turns = [{"role": role, "content": words} for role, words in spoken_turns]
    chats = [(messages.dump(turns), "Today."), (messages.dump(turns[:1]), turns[1]["content"])]
    frame = pd.DataFrame(chats, columns=["text", "label"])
    whole = decoder_examples.render(frame[:1], tokenizer, decoder_config(turns="all")).rows
    each = decoder_examples.render(frame, tokenizer, decoder_config(turns="last")).rows
    assert (len(whole), len(each)) == (1, 2)
    one, two = (generation.likelihood(network, rows, 2) for rows in (whole, each))
    assert one.tokens.sum() == two.tokens.sum()
    assert one.nll.sum() == pytest.approx(two.nll.sum(), rel=1e-5)


def test_rows_that_are_too_long_are_counted_and_left_out_or_cut(tmp_path, reply_tables, decoder_config):
    tokenizer = chat_template.load(Path(decoder_config().base.name.removeprefix("folder:")))
    chat_template.choose(tokenizer, "chatml")
    wide = decoder_config(max_tokens=1000)
    rows = [row for side in reply_tables for row in decoder_examples.render(side, tokenizer, wide).rows]
    most = sorted(len(row.tokens) for row in rows)[len(rows) // 2]
    _, _, dropped = trained(tmp_path / "drop", reply_tables, decoder_config(max_tokens=most, epochs=1))
    _, _, cut = trained(
        tmp_path / "cut", reply_tables, decoder_config(max_tokens=most, epochs=1, too_long="cut_prompt")
    )
    assert dropped["left_out_rows"] == cut["cut_rows"] == sum(len(row.tokens) > most for row in rows) > 0
    assert dropped["cut_rows"] == cut["left_out_rows"] == 0
    with pytest.raises(Refused, match=re.escape("longer than train.max_tokens, 8")):
        trained(tmp_path / "none", reply_tables, decoder_config(max_tokens=8))
