"""One text for training, evaluation and serving, token for token; and an end that is learned."""

import copy
import json
import logging

import pytest

from retune.data import messages as conversations
from retune.errors import Refused, WrongUse
from retune.models import chat_template
from retune.models.chat_template import (
    CHATML,
    PLAIN,
    TokenizedExample,
    choose,
    prompt_text,
    render,
    render_turns,
    shortened,
)

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


THINKING = CHATML.replace(  # as Qwen3's: an empty thought before the last answer
    "message['content']",
    "('<think>\n\n</think>\n\n' if loop.last and message.role == 'assistant' and '<think>' not in message.content"
    " else '') + message['content']",
)
ASKS_WHETHER = THINKING.replace(
    "assistant\n' }}{% endif %}",
    "assistant\n' }}{% if enable_thinking is defined and not enable_thinking %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}",
)


@pytest.mark.parametrize("template", [THINKING, ASKS_WHETHER])
def test_the_empty_thought_of_a_template_ends_the_prompt_and_is_no_part_of_the_answer(tokenizer, template, tmp_path):
    tokenizer.chat_template = template.replace("eos_token", "'<|endoftext|>'")
    choose(tokenizer, "tokenizer")
    row = render(tokenizer, TEXT, ANSWER)
    assert text_of(tokenizer, row.tokens[row.prompt :]) == ANSWER + "<|endoftext|>"
    assert prompt_text(tokenizer, MESSAGES).endswith("assistant\n<think>\n\n</think>\n\n")
    tokenizer.save_pretrained(tmp_path)
    again = chat_template.load(tmp_path)
    choose(again, "tokenizer")
    assert again.chat_template == tokenizer.chat_template, "chosen once is chosen"
    assert render(again, TEXT, ANSWER) == row


def test_thoughts_in_an_answer_are_learned_where_the_template_thinks(tokenizer):
    tokenizer.chat_template = ASKS_WHETHER.replace("eos_token", "'<|endoftext|>'")
    thoughtful = "<think>\nLate?\n</think>\n\n" + ANSWER
    silent = copy.deepcopy(tokenizer)
    choose(silent, "tokenizer")
    with pytest.raises(Refused, match=r"the answer holds thoughts, and train\.template: tokenizer asks for none"):
        render(silent, TEXT, thoughtful)
    choose(tokenizer, "thinking")
    row = render(tokenizer, TEXT, thoughtful)
    assert text_of(tokenizer, row.tokens[row.prompt :]) == thoughtful + "<|endoftext|>"


CHAT = [*MESSAGES, {"role": "assistant", "content": ANSWER}, {"role": "user", "content": "And now?"}]
PER_ANSWER = CHATML.replace(  # as those that write a thought before the last answer alone
    "message['content']", "('<t>' if loop.last and message['role'] == 'assistant' else '') + message['content']"
)


def learned(tokenizer, rows):
    return [tokenizer.decode(row.tokens[first:end]) for row in rows for first, end in row.spans]


def one_by_one(tokenizer, chat, answer):
    """A row for each answer, as one would write it by hand."""
    places = [place for place, message in enumerate(chat) if message["role"] == "assistant"]
    rows = [render(tokenizer, json.dumps(chat[:place]), chat[place]["content"]) for place in places]
    return [*rows, render(tokenizer, json.dumps(chat), answer)]


def test_every_answer_is_learned_in_one_row_with_the_tokens_of_a_row_of_its_own(chatml_tokenizer):
    (row,) = render_turns(chatml_tokenizer, json.dumps(CHAT), "Still late.")
    alone = one_by_one(chatml_tokenizer, CHAT, "Still late.")
    assert learned(chatml_tokenizer, [row]) == learned(chatml_tokenizer, alone)
    assert [row.tokens[:end] for _, end in row.spans] == [each.tokens for each in alone]


def test_a_template_that_writes_earlier_answers_otherwise_gets_a_row_for_each(tokenizer):
    tokenizer.chat_template = PER_ANSWER.replace("eos_token", "'<|endoftext|>'")
    choose(tokenizer, "tokenizer")
    rows = render_turns(tokenizer, json.dumps(CHAT), "Still late.")
    assert rows == one_by_one(tokenizer, CHAT, "Still late.")
    assert len(rows) == 2


def test_an_answer_of_weight_0_and_a_greeting_are_context(chatml_tokenizer):
    greeting, draft = {"role": "assistant", "content": "Hello."}, {"role": "assistant", "content": "x", "weight": 0}
    chat = [greeting, MESSAGES[1], draft, MESSAGES[1]]
    rows = render_turns(chatml_tokenizer, json.dumps(chat), ANSWER)
    assert learned(chatml_tokenizer, rows) == [ANSWER + "<|im_end|>"]


def test_an_answer_of_several_turns_is_supervised_in_what_the_assistant_says(chatml_tokenizer):
    answer = json.dumps(
        [
            {"role": "assistant", "content": "One."},
            {"role": "user", "content": "And?"},
            {"role": "assistant", "content": "Two."},
        ],
        separators=(",", ":"),
    )
    row = render(chatml_tokenizer, TEXT, answer)
    assert learned(chatml_tokenizer, [row]) == ["One.<|im_end|>", "Two.<|im_end|>"]


def test_a_cut_row_loses_the_supervision_of_answers_that_the_cut_reaches():
    row = TokenizedExample([*range(10)], prompt=8, earlier=((2, 4), (5, 7)))
    assert row.cut(2) == TokenizedExample([*range(2, 10)], prompt=6, earlier=((3, 5),))
    assert shortened(row, 9, "cut_prompt").spans == [(1, 3), (4, 6), (7, 9)]
    assert row.after([0]).spans == [(3, 5), (6, 8), (9, 11)]


CALLS_TEMPLATE = "{% if tools %}{{ tools | tojson }}{% endif %}" + CHATML.replace(
    "message['content']", "message['content'] + (message.tool_calls | tojson if message.tool_calls else '')"
)
TRACK = {"type": "function", "function": {"name": "track", "arguments": {"order": 7}}}
CALLING = [
    {"role": "tools", "content": '[{"type":"function","function":{"name":"track"}}]'},
    MESSAGES[1],
    {"role": "assistant", "content": "", "tool_calls": [TRACK]},
    {"role": "tool", "content": "late"},
]


def test_functions_and_calls_are_rendered_where_the_template_can_and_named_where_it_cannot(tokenizer):
    with pytest.raises(Refused, match="leaves out functions, such as 'track'"):
        chatml = copy.deepcopy(tokenizer)
        choose(chatml, "chatml")
        render(chatml, json.dumps(CALLING), ANSWER)
    tokenizer.chat_template = CALLS_TEMPLATE
    choose(tokenizer, "tokenizer")
    rows = render_turns(tokenizer, json.dumps(CALLING), ANSWER)
    assert '"name": "track"' in learned(tokenizer, rows)[0]
    call = conversations.dump([CALLING[2]])
    assert learned(tokenizer, [render(tokenizer, json.dumps(CALLING[:2]), call)]) == learned(tokenizer, rows)[:1]


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
