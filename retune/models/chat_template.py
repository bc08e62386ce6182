"""The chat template: how messages become text, the same in training, evaluation and serving. Adapter of transformers.

`choose` sets the template on the tokenizer, and saving the tokenizer stores it beside the model. `render` makes
the tokens of one row:

    <|im_start|>user ... <|im_start|>assistant      I am sorry to hear that.      <|im_end|>
    ------------------ prompt -----------------     ------------- supervised --------------

Prompt and completion are tokenised separately. Tokenised together, the last token of the prompt may contain the first
letter of the completion, and a served model, which receives only the prompt, would see other tokens than in training.

Where every answer of a conversation is learned, `render_turns` supervises the earlier ones in the same row: each has
the tokens that a row of its own would have. Where the template writes an earlier answer in another way than a last one
(as those that drop thoughts do), each answer gets a row.

The last supervised token is always the end of sequence, from the template or added here: a model that never learns it
never stops. The padding token is another one, since a loss that leaves out padding would leave out the end too.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from retune.data import messages as conversations
from retune.data.messages import Messages
from retune.errors import Refused, WrongUse

# ChatML as OpenAI and Qwen write it if the tokenizer has its special tokens; otherwise the tokenizer's own end of
# sequence closes a turn, since the model would have to learn an unknown token from nothing.
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + eos_token + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Plain words, for a base without special tokens.
PLAIN = (
    "{% for message in messages %}"
    "{{ message['role'] | capitalize + ':\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:\n' }}{% endif %}"
)
SHIPPED = {"chatml": CHATML, "plain": PLAIN}

BEGIN = "{{ bos_token }}"  # precedes a shipped template if the base was trained with it
TURN_END = "<|im_end|>"
# Some templates (Llama 3.2) write today's date into every system message: each day would render other tokens.
ONE_DAY = "{%- macro strftime_now(format) -%}26 Jul 2024{%- endmacro -%}"
# Templates of bases that think (Qwen3, SmolLM3) ask for it by this name, and write an empty thought before an answer.
NO_THOUGHT = "{%- set enable_thinking = false -%}"
PROBE = "Yes, of course."
# Tokens of bases that texts do not contain: candidates for padding, in this order.
UNUSED = ("<|pad|>", "<pad>", "[PAD]", "<|padding|>", "<|finetune_right_pad_id|>", "<|endoftext|>", "<unk>", "<s>")


@dataclass(frozen=True)
class TokenizedExample:
    """The tokens of one row."""

    tokens: list[int]
    prompt: int  # tokens before the last answer; the rest is supervised and ends with the end of sequence
    earlier: tuple[tuple[int, int], ...] = ()  # answers before it that are supervised too: first token, end

    @property
    def spans(self) -> list[tuple[int, int]]:
        """First token and end of each supervised answer. No token precedes the first one to predict it."""
        spans = [*self.earlier, (self.prompt, len(self.tokens))]
        return [(max(first, 1), end) for first, end in spans if end > max(first, 1)]

    def cut(self, count: int) -> "TokenizedExample":
        """Without its first `count` tokens, and without supervision of an earlier answer that they reach."""
        earlier = tuple((first - count, end - count) for first, end in self.earlier if first > count)
        return TokenizedExample(self.tokens[count:], self.prompt - count, earlier)

    def after(self, tokens: list[int]) -> "TokenizedExample":
        """With further tokens before it."""
        count = len(tokens)
        earlier = tuple((first + count, end + count) for first, end in self.earlier)
        return TokenizedExample(tokens + self.tokens, count + self.prompt, earlier)


def load(folder: Path) -> Any:
    """The tokenizer in a folder, without running code from it. Raises WrongUse if there is none."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise WrongUse(f"{folder} holds no tokenizer that transformers can read ({why}): use a base with one") from None


def choose(tokenizer: Any, kind: str) -> None:
    """Set the template (tokenizer | thinking | chatml | plain), an end of sequence and another token for padding.

    The base's own template is asked for answers without thoughts, and what it writes before each (an empty thought)
    ends the prompt, in training and serving alike; `thinking` leaves it as it is, for answers that hold thoughts.

    Raises Refused if the tokenizer lacks a template of its own, an end of sequence, or a token to pad with.
    """
    if kind == "chatml" and _holds(tokenizer, TURN_END):
        tokenizer.eos_token = TURN_END
    if tokenizer.eos_token_id is None:
        raise Refused(
            "the base's tokenizer has no end of sequence (eos_token), so no model could learn where to stop:"
            " name one in its tokenizer_config.json, or use another base"
        )
    if kind in SHIPPED:
        begins = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
        tokenizer.chat_template = (BEGIN if begins else "") + SHIPPED[kind]
    elif not isinstance(tokenizer.chat_template, str):
        raise Refused(
            f"train.template is {kind!r}, but the base's tokenizer has no single chat template of its own:"
            f" set train.template to {' or '.join(SHIPPED)}"
        )
    else:
        if "strftime_now" in tokenizer.chat_template and ONE_DAY not in tokenizer.chat_template:
            tokenizer.chat_template = ONE_DAY + tokenizer.chat_template
        if kind == "tokenizer":
            _end_thoughts(tokenizer)
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        tokenizer.pad_token = _padding(tokenizer)


def _end_thoughts(tokenizer: Any) -> None:
    """Let a prompt end with what the template writes between it and an answer, such as an empty thought."""
    if "enable_thinking" in tokenizer.chat_template and NO_THOUGHT not in tokenizer.chat_template:
        tokenizer.chat_template = NO_THOUGHT + tokenizer.chat_template
    question = [{"role": "user", "content": PROBE[::-1]}]
    try:
        prompt = prompt_text(tokenizer, question)
        whole = _applied(tokenizer, [*question, {"role": "assistant", "content": PROBE}], add_generation_prompt=False)
    except Refused:  # `render` says so of the rows
        return
    between = whole[len(prompt) :].partition(PROBE)[0]
    if PROBE in whole and whole.startswith(prompt) and between.strip():
        tokenizer.chat_template += f"{{%- if add_generation_prompt %}}{{{{- {json.dumps(between)} }}}}{{%- endif %}}"


def _holds(tokenizer: Any, token: str) -> bool:
    return token in tokenizer.get_vocab()


def _padding(tokenizer: Any) -> str:
    candidates = (
        name for name in (*UNUSED, tokenizer.unk_token, tokenizer.bos_token) if name and _holds(tokenizer, name)
    )
    for name in candidates:
        if name != tokenizer.eos_token:
            return name
    raise Refused(
        f"the base's tokenizer pads with its end of sequence, {tokenizer.eos_token!r}, and has no other token that"
        " texts don't use: give it a pad_token that has a row in the base's embeddings"
    )


def prompt_text(tokenizer: Any, messages: Messages) -> str:
    """The input of a served model: the messages, and the token after which its answer begins."""
    return _applied(tokenizer, messages, add_generation_prompt=True)


def render(tokenizer: Any, text: str, completion: str) -> TokenizedExample:
    """The tokens of a row. `text` is its prompt, messages in JSON. Raises Refused if the template doesn't fit it.

    An answer of several turns is supervised in all that the assistant says.
    """
    prompt, answer = json.loads(text), conversations.answer(completion)
    whole = [*prompt, *answer]
    example = _row(tokenizer, whole)
    if len(answer) == 1:
        return example
    earlier = [place for place in conversations.learnable(whole[:-1]) if place >= len(prompt)]
    if (spans := _spans(tokenizer, whole, earlier, example)) is None:
        raise Refused(
            "the chat template renders an answer differently once another turn follows: set train.template to chatml"
            " or plain"
        )
    return TokenizedExample(example.tokens, example.prompt, spans)


def written(tokenizer: Any, text: str, completion: str) -> str:
    """The answer as a model writes it: a text as it is, calls of functions as the template renders them."""
    first, *_ = conversations.answer(completion)
    if "tool_calls" not in first:
        return str(first["content"])
    row = _row(tokenizer, [*json.loads(text), first])
    answer: str = tokenizer.decode(row.tokens[row.prompt :], skip_special_tokens=True)
    return answer


def render_turns(tokenizer: Any, text: str, completion: str) -> list[TokenizedExample]:
    """The same with every answer of the conversation supervised: in one row, or where the template forbids it in one
    row for each answer.
    """
    whole = [*json.loads(text), *conversations.answer(completion)]
    earlier, example = conversations.learnable(whole[:-1]), _row(tokenizer, whole)
    spans = _spans(tokenizer, whole, earlier, example)
    if spans is None:
        return [*(_row(tokenizer, whole[: place + 1]) for place in earlier), example]
    return [TokenizedExample(example.tokens, example.prompt, spans)]


def renderer(turns: str) -> Callable[[Any, str, str], list[TokenizedExample]]:
    """How `train.turns` has rows rendered: `render_turns`, or the last answer alone."""
    return render_turns if turns == "all" else lambda tokenizer, text, label: [render(tokenizer, text, label)]


def _spans(
    tokenizer: Any, whole: Messages, places: Sequence[int], example: TokenizedExample
) -> tuple[tuple[int, int], ...] | None:
    """Where in the tokens of the whole conversation each of these answers is; None if one has other tokens alone."""
    spans = []
    for place in places:
        alone = _row(tokenizer, whole[: place + 1])
        if example.tokens[: len(alone.tokens)] != alone.tokens:
            return None
        spans.append((alone.prompt, len(alone.tokens)))
    return tuple(spans)


def _row(tokenizer: Any, whole: Messages) -> TokenizedExample:
    """The tokens of a conversation whose last answer is supervised."""
    *messages, last = whole
    prompt, completion = prompt_text(tokenizer, messages), last["content"]
    text = _applied(tokenizer, whole, add_generation_prompt=False)
    if not text.startswith(prompt):
        if NO_THOUGHT in tokenizer.chat_template and "</think>" in completion:
            raise Refused("the answer holds thoughts, and train.template: tokenizer asks for none: set it to thinking")
        raise Refused(
            "the chat template renders prompt and answer differently from the prompt alone, so a served model would"
            " see another prompt than in training: set train.template to chatml or plain"
        )
    answer = text[len(prompt) :]
    if completion.strip() not in answer:
        raise Refused(
            "the chat template leaves out or changes what the assistant says last:"
            " set train.template to chatml or plain"
        )
    _check_calls(whole, text)
    end = tokenizer.eos_token
    if answer.rstrip().endswith(end):
        answer = answer.rstrip().removesuffix(end)  # the model never generates what a template writes after the end
    first, second = encode(tokenizer, prompt), encode(tokenizer, answer)
    return TokenizedExample([*first, *second, tokenizer.eos_token_id], len(first))


def _check_calls(whole: Messages, text: str) -> None:
    """Raises Refused if the template leaves out a function that may be called, or a call."""
    called = [call["function"] for message in whole for call in message.get("tool_calls", ())]
    offered = [each.get("function", each) for each in _functions(whole)]
    missing = [function["name"] for function in (*called, *offered) if str(function.get("name")) not in text]
    if missing:
        raise Refused(
            f"the chat template leaves out functions, such as {missing[0]!r}: use a base whose own template renders "
            "tools and train.template: tokenizer, or bring the records in without tools and calls"
        )


def _functions(messages: Messages) -> list[dict[str, Any]]:
    return [function for each in messages if each["role"] == "tools" for function in json.loads(each["content"])]


def continuation(tokenizer: Any, context: str, text: str, max_tokens: int) -> TokenizedExample:
    """`text` after `context`, both plain, without a template; a context that is too long loses its beginning."""
    second = encode(tokenizer, text)
    first = tokenizer(context, verbose=False)["input_ids"]
    if first[-1:] == [tokenizer.eos_token_id]:  # some tokenizers append an end of sequence
        first = first[:-1]
    return TokenizedExample(
        first[-max(1, max_tokens - len(second)) :] + second, min(len(first), max(1, max_tokens - len(second)))
    )


def encode(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a rendered text, which already contains all special tokens.

    Of any length and not `verbose`: the caller knows the limit; the tokenizer would warn about the base's.
    """
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def _applied(tokenizer: Any, messages: Messages, add_generation_prompt: bool) -> str:
    turns = [each for each in messages if each["role"] != "tools"]
    try:
        text: str = tokenizer.apply_chat_template(
            turns,
            tools=_functions(messages) or None,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
        )
    except (jinja2.TemplateError, TypeError) as error:  # a template that adds what a message does not have
        raise Refused(f"the chat template does not take these messages: {error}") from None
    return text


def shortened(row: TokenizedExample, max_tokens: int, too_long: str) -> TokenizedExample | None:
    """The row for training; None if it is left out. `too_long`: drop, or cut_prompt from its beginning.

    Never cuts the completion or its end: half an answer teaches to stop early, or never. Of an earlier answer that is
    cut nothing is learned.
    """
    over = len(row.tokens) - max_tokens
    if over <= 0:
        return row
    if too_long == "drop" or over >= row.prompt:
        return None
    return row.cut(over)
