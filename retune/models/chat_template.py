"""The chat template: how messages become text, the same in training, evaluation and serving. Adapter of transformers.

`choose` sets the template on the tokenizer, and saving the tokenizer stores it beside the model. `render` makes
the tokens of one row:

    <|im_start|>user ... <|im_start|>assistant      I am sorry to hear that.      <|im_end|>
    ------------------ prompt -----------------     ------------- supervised --------------

Prompt and completion are tokenised separately. Tokenised together, the last token of the prompt may contain the first
letter of the completion, and a served model, which receives only the prompt, would see other tokens than in training.

The last supervised token is always the end of sequence, from the template or added here: a model that never learns it
never stops. The padding token is another one, since a loss that leaves out padding would leave out the end too.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from retune.errors import Refused, WrongUse

Messages = list[dict[str, str]]

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
# Tokens of bases that texts do not contain: candidates for padding, in this order.
UNUSED = ("<|pad|>", "<pad>", "[PAD]", "<|padding|>", "<|finetune_right_pad_id|>", "<|endoftext|>", "<unk>", "<s>")


@dataclass(frozen=True)
class TokenizedExample:
    """The tokens of one row."""

    tokens: list[int]
    prompt: int  # tokens of the prompt; the rest is supervised and ends with the end of sequence


def load(folder: Path) -> Any:
    """The tokenizer in a folder, without running code from it. Raises WrongUse if there is none."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise WrongUse(f"{folder} holds no tokenizer that transformers can read ({why}): use a base with one") from None


def choose(tokenizer: Any, kind: str) -> None:
    """Set the template (tokenizer | chatml | plain), and ensure an end of sequence and another token for padding.

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
    elif "strftime_now" in tokenizer.chat_template and not tokenizer.chat_template.startswith(ONE_DAY):
        tokenizer.chat_template = ONE_DAY + tokenizer.chat_template
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        tokenizer.pad_token = _padding(tokenizer)


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
    """The tokens of a row. `text` is its prompt, messages in JSON. Raises Refused if the template doesn't fit it."""
    messages = json.loads(text)
    prompt = prompt_text(tokenizer, messages)
    whole = _applied(tokenizer, [*messages, {"role": "assistant", "content": completion}], add_generation_prompt=False)
    if not whole.startswith(prompt):
        raise Refused(
            "the chat template renders prompt and answer differently from the prompt alone, so a served model would"
            " see another prompt than in training: set train.template to chatml or plain"
        )
    answer = whole[len(prompt) :]
    if completion.strip() not in answer:
        raise Refused(
            "the chat template leaves out or changes what the assistant says last:"
            " set train.template to chatml or plain"
        )
    end = tokenizer.eos_token
    if answer.rstrip().endswith(end):
        answer = answer.rstrip().removesuffix(end)  # the model never generates what a template writes after the end
    first, second = encode(tokenizer, prompt), encode(tokenizer, answer)
    return TokenizedExample([*first, *second, tokenizer.eos_token_id], len(first))


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
    try:
        text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt)
    except jinja2.TemplateError as error:
        raise Refused(f"the chat template does not take these messages: {error}") from None
    return text


def shortened(row: TokenizedExample, max_tokens: int, too_long: str) -> TokenizedExample | None:
    """The row for training; None if it is left out. `too_long`: drop, or cut_prompt from its beginning.

    Never cuts the completion or its end: half an answer teaches to stop early, or never.
    """
    over = len(row.tokens) - max_tokens
    if over <= 0:
        return row
    if too_long == "drop" or over >= row.prompt:
        return None
    return TokenizedExample(row.tokens[over:], row.prompt - over)
