"""One text for training, evaluation and serving, token for token; and an end that is learned."""

import copy
import json
import logging

import pytest

from retune.errors import Refused, WrongUse
from retune.models import chat_template
from retune.models.chat_template import CHATML, PLAIN, TokenizedExample, choose, prompt_text, render, shortened

MESSAGES = [
    {"role": "system", "content": "You are kind."},
    {"role": "user", "content": "Where is my order?\n\nIt is late."},
]
TEXT = json.dumps(MESSAGES, ensure_ascii=False, separators=(",", ":"))
ANSWER = "I am sorry.\n\n1. Look at the map.\n2. Call us."
SPECIAL = ["<unk>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<pad>"]


def with_tokens(words, special, **named):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        words, trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, **named)


@pytest.fixture(scope="module")
def trained_bpe():
    """As Qwen's: its marks are tokens, its own end is another one, and padding is that end."""
    return with_tokens(
        [*(m["content"] for m in MESSAGES), ANSWER] * 5, SPECIAL, eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    )


@pytest.fixture(scope="module")
def bare_tokenizer():
    """As an old base's: one special token, no marks of chat."""
    return with_tokens([ANSWER] * 5, ["<unk>", "</s>"], eos_token="</s>", unk_token="<unk>")


@pytest.fixture
def tokenizer(trained_bpe):
    return copy.deepcopy(trained_bpe)


@pytest.fixture
def chatml_tokenizer(tokenizer):
    choose(tokenizer, "chatml")
    return tokenizer


def text_of(tokenizer, ids):
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def test_chatml_is_chatml_byte_for_byte(chatml_tokenizer):
    expected = (
        "<|im_start|>system\nYou are kind.<|im_end|>\n<|im_start|>user\nWhere is my order?\n\nIt is late.<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert prompt_text(chatml_tokenizer, MESSAGES) == expected
    row = render(chatml_tokenizer, TEXT, ANSWER)
    applied = chatml_tokenizer.apply_chat_template(
        [*MESSAGES, {"role": "assistant", "content": ANSWER}], tokenize=False
    )
    assert text_of(chatml_tokenizer, row.tokens) + "\n" == applied == expected + ANSWER + "<|im_end|>\n"


@pytest.mark.parametrize("kind", ["chatml", "plain"])
def test_what_is_trained_begins_with_the_tokens_that_a_served_model_gets(bare_tokenizer, kind):
    tokenizer = copy.deepcopy(bare_tokenizer)
    choose(tokenizer, kind)
    row = render(tokenizer, TEXT, ANSWER)
    served = tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, tokenize=True, return_dict=True)
    assert row.tokens[: row.prompt] == served["input_ids"]
    assert text_of(tokenizer, row.tokens[row.prompt :]) == ANSWER + "</s>"


@pytest.mark.parametrize("kind", ["chatml", "plain"])
def test_the_end_is_learned_once_and_is_not_the_padding(tokenizer, kind):
    choose(tokenizer, kind)
    row = render(tokenizer, TEXT, ANSWER)
    assert row.tokens[-1] == tokenizer.eos_token_id != tokenizer.pad_token_id
    assert row.tokens[row.prompt :].count(tokenizer.eos_token_id) == 1
    assert tokenizer.pad_token_id < len(tokenizer)


def test_a_template_that_writes_another_end_gets_the_tokenizers_own_behind_it(tokenizer):
    tokenizer.chat_template = CHATML.replace("eos_token", "'<|im_end|>'")
    choose(tokenizer, "tokenizer")
    row = render(tokenizer, TEXT, ANSWER)
    assert text_of(tokenizer, row.tokens[row.prompt :]) == ANSWER + "<|im_end|>\n<|endoftext|>"


def test_a_tokenizer_without_the_marks_closes_a_turn_with_its_own_end(bare_tokenizer):
    tokenizer = copy.deepcopy(bare_tokenizer)
    choose(tokenizer, "chatml")
    assert tokenizer.pad_token == "<unk>"
    assert prompt_text(tokenizer, MESSAGES[1:]).startswith("<|im_start|>user\nWhere is my order?\n\nIt is late.</s>\n")


def test_a_base_that_was_trained_to_see_a_beginning_sees_it_once(bare_tokenizer):
    from tokenizers.processors import TemplateProcessing

    tokenizer = copy.deepcopy(bare_tokenizer)
    tokenizer.bos_token = "<unk>"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<unk> $A", special_tokens=[("<unk>", 0)])
    choose(tokenizer, "plain")
    row = render(tokenizer, TEXT, ANSWER)
    assert [row.tokens[0], row.tokens.count(0)] == [tokenizer.bos_token_id, 1]


def test_the_template_is_stored_with_the_tokenizer_and_renders_the_same_after_it(chatml_tokenizer, tmp_path):
    chatml_tokenizer.save_pretrained(tmp_path)
    again = chat_template.load(tmp_path)
    assert render(again, TEXT, ANSWER) == render(chatml_tokenizer, TEXT, ANSWER)
    assert (again.eos_token, again.pad_token) == (chatml_tokenizer.eos_token, chatml_tokenizer.pad_token)
    choose(again, "tokenizer")  # as a later training from that model does
    assert render(again, TEXT, ANSWER) == render(chatml_tokenizer, TEXT, ANSWER)


def test_a_template_that_writes_the_day_renders_the_same_on_any_day(tokenizer):
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }} " + CHATML
    choose(tokenizer, "tokenizer")
    assert prompt_text(tokenizer, MESSAGES).startswith("26 Jul 2024 <|im_start|>")


ANSWERS_OTHERWISE = {
    "renders prompt and answer differently": "{{ messages | length }}" + CHATML,
    "leaves out or changes": "{% if messages[-1]['role'] == 'user' %}" + CHATML + "{% else %}"
    + CHATML.replace("messages", "messages[:-1]") + "<|im_start|>assistant\n{% endif %}",
    "does not take these messages: no system": "{{ raise_exception('no system') }}",
}  # fmt: skip


@pytest.mark.parametrize("invalid", ANSWERS_OTHERWISE)
def test_a_template_that_does_not_fit_is_refused(tokenizer, invalid):
    tokenizer.chat_template = ANSWERS_OTHERWISE[invalid]
    choose(tokenizer, "tokenizer")
    with pytest.raises(Refused, match=invalid):
        render(tokenizer, TEXT, ANSWER)


def test_a_tokenizer_without_a_template_an_end_or_anything_to_pad_with_is_refused(tokenizer):
    with pytest.raises(Refused, match="chatml or plain"):
        choose(copy.deepcopy(tokenizer), "tokenizer")
    lone = with_tokens([ANSWER], ["<|endoftext|>"], eos_token="<|endoftext|>")
    with pytest.raises(Refused, match="pads with its end"):
        choose(lone, "plain")
    with pytest.raises(Refused, match="no end of sequence"):
        choose(with_tokens([ANSWER], ["<unk>"]), "plain")


def test_a_folder_without_a_tokenizer_is_told(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(WrongUse, match="holds no tokenizer that transformers can read"):
        chat_template.load(tmp_path)


def test_plain_writes_words_alone(tokenizer):
    choose(tokenizer, "plain")
    assert tokenizer.chat_template == PLAIN
    assert prompt_text(tokenizer, MESSAGES[1:]) == "User:\nWhere is my order?\n\nIt is late.\n\nAssistant:\n"


def test_a_row_too_long_loses_its_beginning_or_is_left_out_and_never_loses_its_end():
    row = TokenizedExample([1, 2, 3, 4, 5, 6], prompt=4)
    assert shortened(row, 6, "drop") is row
    assert shortened(row, 5, "drop") is None
    assert shortened(row, 3, "cut_prompt") == TokenizedExample([4, 5, 6], prompt=1)
    assert shortened(row, 2, "cut_prompt") is None  # an answer to nothing


def test_a_text_of_any_length_is_encoded_without_a_word(chatml_tokenizer):
    chatml_tokenizer.model_max_length = 8  # what the base says it reads; what is read, the model's card says
    messages, listener = [], logging.Handler()
    listener.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger("transformers").addHandler(listener)
    try:
        assert len(chat_template.encode(chatml_tokenizer, ANSWER * 20)) > 8
        chat_template.continuation(chatml_tokenizer, ANSWER * 20, ANSWER, 8)
        assert messages == []
        chatml_tokenizer(ANSWER * 20)
        assert "longer than the specified maximum" in messages[0], "the listener hears"
    finally:
        logging.getLogger("transformers").removeHandler(listener)
