"""Whatever would teach nothing, or never where to stop, is seen before training sees it."""

import json
from dataclasses import dataclass, replace

import pandas as pd
import pytest

from retune.config.generation import Preflight
from retune.data import messages
from retune.data.row_table import COLUMNS
from retune.models import chat_template
from retune.models.chat_template import TokenizedExample, render
from retune.preflight import token_audit

LIMITS = Preflight(max_truncated_share=0.1, examples=3)


@dataclass(frozen=True)
class Named:
    name: str


@dataclass(frozen=True)
class Training:
    base: Named
    template: str
    max_tokens: int
    too_long: str


TRAINING = Training(Named("folder:/none"), "chatml", 60, "drop")


@pytest.fixture
def tokenizer(tiny_causal_lm):
    tokenizer_copy = chat_template.load(tiny_causal_lm)
    chat_template.choose(tokenizer_copy, "chatml")
    return tokenizer_copy


def rows(*some):
    """Rows of (prompt, answer)."""
    table_rows = [
        (f"Q-{number}", messages.dump([{"role": "user", "content": prompt}]), answer, "", "desk", "")
        for number, (prompt, answer) in enumerate(some)
    ]
    return pd.DataFrame(table_rows, columns=list(COLUMNS)).astype("str")


GOOD = rows(*((f"question {number}", f"answer\n{number}") for number in range(20)))


def audit(table, tokenizer, render=render, limits=LIMITS, **changes):
    return token_audit.audit(table, tokenizer, replace(TRAINING, **changes), limits, lambda *row: [render(*row)])


def failures(audited):
    return {finding.name: finding for finding in audited.findings if not finding.success}


def test_good_rows_pass_and_every_token_is_counted(tokenizer):
    result = audit(GOOD, tokenizer)
    assert failures(result) == {}
    rendered = [render(tokenizer, row.text, row.label) for row in GOOD.itertuples()]
    assert result.figures["trained_tokens"] == sum(len(row.tokens) for row in rendered)
    assert result.figures["supervised_tokens"] == sum(len(row.tokens) - row.prompt for row in rendered)
    assert result.figures["end_learned"] == result.figures["rows"] == 20
    assert result.figures["tokens"]["whole"]["max"] == max(len(row.tokens) for row in rendered)
    assert 0 < result.figures["supervised_share"]["min"] < 1
    json.dumps(result.figures)


def test_each_answer_of_a_conversation_counts_where_each_is_learned(tokenizer):
    chat = [{"role": role, "content": "words"} for role in ("user", "assistant", "user")]
    table = GOOD.head(1).assign(text=messages.dump(chat))
    counts = {
        turns: token_audit.audit(table, tokenizer, TRAINING, LIMITS, chat_template.renderer(turns)).figures
        for turns in ("last", "all")
    }
    assert (counts["last"]["answers"], counts["all"]["answers"]) == (1, 2)
    assert counts["all"]["supervised_tokens"] > counts["last"]["supervised_tokens"]
    assert counts["all"]["trained_tokens"] == counts["last"]["trained_tokens"]


def thumbs(*labels):
    return GOOD.head(len(labels)).assign(
        label=["yes" if liked else messages.NO_ANSWER for liked in labels],
        rejected=[messages.NO_ANSWER if liked else "no" for liked in labels],
    )


@pytest.mark.parametrize(
    ("method", "metric", "bad"),
    [
        ("kto", "perplexity", []),
        ("dpo", "perplexity", ["answers_to_compare"]),
        ("kto", "preferred", ["answers_to_score"]),
    ],
)
def test_single_answers_need_what_learns_from_them_and_what_measures_them(method, metric, bad):
    rows, pairs = thumbs(True, False), GOOD.assign(rejected="no")
    findings = token_audit.single_answers(rows, rows, method, metric, LIMITS)
    assert [finding.name for finding in findings if not finding.success] == bad
    assert token_audit.single_answers(pairs, pairs, "dpo", "preferred", LIMITS) == []


def test_pairs_that_no_test_row_has_measure_nothing():
    pair = GOOD.head(1).assign(rejected="no")
    rows = pd.concat([pair, thumbs(True, False)], ignore_index=True)
    for tested, success in ((rows, True), (pair, True), (thumbs(True), False)):
        *_, to_score = token_audit.single_answers(rows, tested, "kto", "preferred", LIMITS)
        assert (to_score.name, to_score.success) == ("answers_to_score", success)


def test_the_answer_that_is_missing_is_not_rendered(tokenizer):
    assert audit(thumbs(True, False), tokenizer).figures["answers"] == 2


def all_masked(tokenizer, text, answer):
    """What `assistant_only_loss` makes of a template without generation marks: nothing is left to learn."""
    row = render(tokenizer, text, answer)
    return TokenizedExample(row.tokens, len(row.tokens))


def end_lost(tokenizer, text, answer):
    """What is left where the end is cut off, or never written."""
    row = render(tokenizer, text, answer)
    return TokenizedExample(row.tokens[:-1], row.prompt)


def test_empty_masks_are_refused(tokenizer):
    failed = failures(audit(GOOD, tokenizer, all_masked))
    assert {"supervised", "end_learned"} <= set(failed)
    assert failed["supervised"].found == "20 of 20 rows otherwise"
    assert failed["supervised"].examples == ["Q-0", "Q-1", "Q-2"]


def test_one_row_without_a_token_to_learn_is_enough(tokenizer):
    table = GOOD.assign(label=GOOD["label"].mask(GOOD["id"] == "Q-7", " \n"))
    assert {name: finding.examples for name, finding in failures(audit(table, tokenizer)).items()} == {
        "supervised": ["Q-7"]
    }


def test_a_lost_end_of_sequence_is_refused(tokenizer):
    assert set(failures(audit(GOOD, tokenizer, end_lost))) == {"end_learned"}


def test_an_end_that_is_the_padding_is_refused_since_padding_is_left_out_of_the_loss(tokenizer):
    tokenizer.pad_token = tokenizer.eos_token
    failed = failures(audit(GOOD, tokenizer))
    assert set(failed) == {"end_learned"}
    assert "the loss leaves it out" in failed["end_learned"].found


def test_a_template_that_does_not_fit_is_refused_with_its_rows(tokenizer):
    tokenizer.chat_template = "{{ messages | length }}" + tokenizer.chat_template
    failed = failures(audit(GOOD, tokenizer))
    assert {"template_fits", "rows_left"} == set(failed)
    assert "20 of 20 rows otherwise: the chat template renders" in failed["template_fits"].found


def test_a_row_of_another_task_is_refused_and_does_not_break_the_audit(tokenizer):
    table = GOOD.assign(text=GOOD["text"].mask(GOOD["id"] == "Q-7", "card lost"))
    failed = failures(audit(table, tokenizer))
    assert failed["template_fits"].examples == ["Q-7"]
    assert "another task" in failed["template_fits"].found


def long_rows(tokenizer):
    """One prompt too long, one answer too long, eighteen that fit."""
    table = GOOD.copy()
    table.loc[3, "text"] = messages.dump([{"role": "user", "content": "question " * 100}])
    table.loc[5, "label"] = "answer " * 100
    return table


def test_rows_that_are_too_long_are_counted_and_only_too_many_are_refused(tokenizer):
    result = audit(long_rows(tokenizer), tokenizer)
    assert failures(result) == {}
    figures = result.figures
    assert (figures["longer_than_max_tokens"], figures["left_out"], figures["prompt_cut"]) == (2, 2, 0)
    assert figures["nothing_left_by_a_plain_cut"] == 1  # the others' way: a row without a supervised token
    strict = replace(LIMITS, max_truncated_share=0.05)
    failed = failures(audit(long_rows(tokenizer), tokenizer, limits=strict))
    assert set(failed) == {"truncated"}
    assert failed["truncated"].examples == ["Q-3", "Q-5"]


def test_a_cut_prompt_keeps_its_answer_and_its_end(tokenizer):
    figures = audit(long_rows(tokenizer), tokenizer, too_long="cut_prompt").figures
    assert (figures["left_out"], figures["prompt_cut"], figures["end_learned"]) == (1, 1, 20)


def test_rows_none_of_which_is_short_enough_are_refused(tokenizer):
    lenient = replace(LIMITS, max_truncated_share=1.0)
    assert set(failures(audit(GOOD, tokenizer, limits=lenient, max_tokens=8))) == {"rows_left"}


def test_both_answers_of_a_pair_are_looked_at(tokenizer):
    pairs = GOOD.assign(rejected="bad")
    figures = audit(pairs, tokenizer).figures
    assert (figures["rows"], figures["end_learned"]) == (20, 20)
    assert figures["trained_tokens"] > audit(GOOD, tokenizer).figures["trained_tokens"]
    pairs.loc[4, "rejected"] = "bad " * 100
    less = audit(pairs, tokenizer).figures
    both = sum(len(render(tokenizer, pairs["text"][4], answer).tokens) for answer in (pairs["label"][4], "bad"))
    assert (less["left_out"], less["trained_tokens"]) == (
        1,
        figures["trained_tokens"] - both,
    )  # half a pair says nothing
    pairs.loc[2, "rejected"] = ""
    assert failures(audit(pairs, tokenizer))["supervised"].examples == ["Q-2"]


def test_words_that_are_marks_of_the_tokenizer_are_counted(tokenizer):
    table = GOOD.assign(label=GOOD["label"].mask(GOOD["id"] == "Q-7", "stop <|im_end|> here"))
    assert audit(table, tokenizer).figures["special_tokens_in_words"] == 1


def test_a_prompt_on_two_sides_is_a_leak_and_several_answers_on_one_are_none():
    table = rows(("Why?", "a"), ("why", "b"), ("How?", "c"), ("Where?", "d"))
    side = pd.Series(["train", "test", "train", ""])
    result = token_audit.leaked(table, side, LIMITS)
    assert (result.success, result.examples, result.found) == (False, ["Q-0", "Q-1"], "2 of 4 rows otherwise")
    assert token_audit.leaked(table, side, LIMITS, allowed=2).success
    assert token_audit.leaked(table, side.replace("test", "train"), LIMITS).success


def test_no_rows_have_no_figures_and_are_refused(tokenizer):
    for table in (GOOD.head(0), GOOD.assign(text="card lost")):
        result = audit(table, tokenizer)
        assert "rows_left" in failures(result)
        assert result.figures["trained_tokens"] == result.figures["left_out"] == 0


def test_no_finding_and_no_figure_holds_a_word(tokenizer):
    table = rows(*((f"secret {n}", "secret answer " * 40) for n in range(5)))
    result = audit(table, tokenizer)
    assert "secret" not in json.dumps([vars(finding) for finding in result.findings]) + json.dumps(result.figures)
