"""A version that another server writes with: vLLM first, or any that speaks OpenAI's API. An `Answerer`.

What comes back counts only if it fits: one choice with a text, a reason to end, log-probabilities that are numbers, and
the model's name. The confidence is that of the version, the geometric mean over its tokens, as far as the server gives
their log-probabilities; without them a person reads the answer.

Whether the server has our version cannot be known from outside. What can be checked is: that it lists the name, that an
adapter is listed under a base, and where it names a folder of this machine, that the weights in it are the version's.
"""

import asyncio
import math
import re
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retune.data import messages
from retune.errors import Refused
from retune.models import causal_lm, chat_template, routing
from retune.models.manifest import read_causal_lm
from retune.serving.answers import Answer, BadAnswer, ServedVersion, Unanswered, Unfit
from retune.serving.upstream_client import Body, UpstreamClient
from retune.serving.writing import OnPiece, Prompt, Written, prompt_of, route
from retune.system.files import file_sha256

COMPLETIONS, CHAT = "/completions", "/chat/completions"
SNAPSHOT = r"(-\d{4}-?\d{2}-?\d{2})?"  # a hosted API answers with the dated name of its model
FINISHES = {
    "stop": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "length": "length",
}  # TGI has words of its own
CERTAIN = 1e-3  # above 0, that rounding may put a log-probability


@dataclass(frozen=True)
class UpstreamCheck:
    """What an upstream says of a version."""

    problem: str  # why it cannot answer; empty if nothing speaks against it
    evidence: str  # what was compared


class UpstreamWriter:
    """folder: the checked model folder of the version. model: what the server calls it. Raises Refused if the folder is
    damaged."""

    def __init__(self, served: ServedVersion, folder: Path, client: UpstreamClient, model: str, prompts: str) -> None:
        self.served, self.model, self._folder, self._client = served, model, folder, client
        self._manifest, self._routing = read_causal_lm(folder), routing.read(folder)
        self._tokenizer = chat_template.load(folder / "tokenizer") if prompts == "tokens" else None

    async def close(self) -> None:
        """Once its requests have ended."""
        await self._client.close()

    async def answer(self, texts: Sequence[str], deadline: float) -> list[Answer]:
        """Each is a `Written`."""
        tasks = [asyncio.create_task(self._write(prompt_of(text), deadline)) for text in texts]
        try:
            return list(await asyncio.gather(*tasks))
        finally:  # one that fails, or a client that goes, ends the others
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def check(self, deadline: float) -> UpstreamCheck:
        """Whether the server has this version, as far as it says."""
        try:
            listing = await self._client.get("/models", deadline)
            cards = {card["id"]: card for card in listing["data"]}
        except Unanswered as error:
            return UpstreamCheck(str(error), "")
        except (TypeError, KeyError):
            return UpstreamCheck(f"{self._client.url}/models answers with what is no list of models", "")
        if self.model not in cards:
            names = ", ".join(map(str, list(cards)[:5])) or "none"
            return UpstreamCheck(f"{self._client.url} serves no model {self.model!r}; those it lists: {names}", "")
        return await asyncio.to_thread(_compared, cards[self.model], self._folder, self._manifest.method)

    async def _write(self, prompt: Prompt, deadline: float) -> Written:
        path, body, cut = self._body(prompt)
        if prompt.on_piece:
            return await self._in_pieces(path, body, cut, prompt.on_piece, deadline)
        answer = await self._client.post(path, body, deadline)
        choice = self._choice(answer)
        text = _text(choice, path)
        return self._written(text, _logprobs(choice), choice.get("finish_reason"), _usage(answer), cut)

    async def _in_pieces(self, path: str, body: Body, cut: int, on_piece: OnPiece, deadline: float) -> Written:
        body = body | {"stream": True, "stream_options": {"include_usage": True}}
        pieces: list[str] = []
        logprobs: list[float] = []
        finish = ""
        usage: dict[str, Any] = {}
        async with aclosing(self._client.events(path, body, deadline)) as events:
            async for event in events:
                usage = _usage(event) or usage
                if isinstance(event, dict) and event.get("choices") == [] and usage:
                    continue  # the last event, with the counts alone
                choice = self._choice(event)
                logprobs += _logprobs(choice)
                finish = choice.get("finish_reason") or finish
                if piece := _piece(choice, path):
                    pieces.append(piece)
                    on_piece(self.served, piece)
        return self._written("".join(pieces), logprobs, finish, usage, cut)

    def _body(self, prompt: Prompt) -> tuple[str, Body, int]:
        """Where to send a prompt, what, and how many tokens of its beginning are left out."""
        limit = self._manifest.max_new_tokens
        body: Body = {"model": self.model, "temperature": 0, "max_tokens": min(prompt.max_tokens or limit, limit)}
        if prompt.stop:
            body["stop"] = list(prompt.stop)
        if self._tokenizer is None:
            conversation = messages.parse(prompt) or [{"role": "user", "content": str(prompt)}]
            return CHAT, body | {"messages": conversation, "logprobs": True}, 0
        try:
            tokens = causal_lm.encode(self._tokenizer, prompt)
        except Refused as error:
            raise Unfit(str(error)) from None
        last = tokens[-self._manifest.prompt_limit :]
        return COMPLETIONS, body | {"prompt": last, "logprobs": 1}, len(tokens) - len(last)

    def _choice(self, answer: Any) -> dict[str, Any]:
        """The one choice of an answer, or of an event of it."""
        choices = answer.get("choices") if isinstance(answer, dict) else None
        if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
            raise self._bad("not one choice of an answer")
        model = answer.get("model", self.model)
        if not isinstance(model, str) or not re.fullmatch(re.escape(self.model) + SNAPSHOT, model):
            raise self._bad(f"the answer of another model than {self.model!r}")
        return choices[0]

    def _written(self, text: str, logprobs: list[float], finish: Any, usage: dict[str, Any], cut: int) -> Written:
        if not isinstance(finish, str) or finish not in FINISHES:
            raise self._bad(f"an answer that ended by {str(finish)[:40]!r}")
        if not all(each <= CERTAIN for each in logprobs):  # which no NaN is
            raise self._bad("log-probabilities that are none")
        confidence = min(1.0, math.exp(sum(logprobs) / len(logprobs))) if logprobs else None
        return Written(
            text,
            confidence or 0.0,
            route(self._routing, text, confidence),
            finish=FINISHES[finish],
            prompt_tokens=_count(usage, "prompt_tokens", 0) + cut,
            completion_tokens=_count(usage, "completion_tokens", len(logprobs)),
            cut_tokens=cut,
        )

    def _bad(self, what: str) -> BadAnswer:
        return BadAnswer(f"{self._client.url} gave {what}")


def _text(choice: dict[str, Any], path: str) -> str:
    message = choice.get("message") if path == CHAT else None
    return _clean(message.get("content") if isinstance(message, dict) else choice.get("text"))


def _piece(choice: dict[str, Any], path: str) -> str:
    if path == COMPLETIONS:
        return _text(choice, path)
    delta = choice.get("delta")
    return _clean(delta.get("content") or "" if isinstance(delta, dict) else None)


def _clean(text: Any) -> str:
    try:
        text.encode()  # half a surrogate pair is no letter, and nobody could read it on
    except (AttributeError, UnicodeEncodeError):
        raise BadAnswer("the upstream gave an answer without a text") from None
    return str(text)


def _logprobs(choice: dict[str, Any]) -> list[float]:
    """Of the tokens of the answer, in either of OpenAI's two forms; none if the server gives none."""
    form = choice.get("logprobs")
    if form is None:
        return []
    try:
        if "token_logprobs" in form:
            return [float(each) for each in form["token_logprobs"]]
        return [float(each["logprob"]) for each in form["content"] or []]
    except (TypeError, KeyError, ValueError, OverflowError):
        raise BadAnswer("the upstream gave log-probabilities that are no numbers") from None


def _usage(answer: Any) -> dict[str, Any]:
    usage = answer.get("usage") if isinstance(answer, dict) else None
    return usage if isinstance(usage, dict) else {}


def _count(usage: dict[str, Any], name: str, otherwise: int) -> int:
    count = usage.get(name, otherwise)
    if type(count) is not int or count < 0:
        raise BadAnswer(f"the upstream gave {name} that are no count")
    return count


def _compared(card: dict[str, Any], folder: Path, method: str) -> UpstreamCheck:
    """What vLLM says beside the name: `root`, where the weights are, and `parent`, the base of an adapter."""
    is_adapter, name = method != "full", card["id"]
    if is_adapter and "parent" in card and card["parent"] is None:
        return UpstreamCheck(
            f"{name} is listed as a whole model, and the version is an adapter: it may be the bare base. Serve the "
            "adapter under this name (vLLM: --lora-modules)",
            "",
        )
    ours = folder / ("adapter" if is_adapter else "decoder")
    root = Path(str(card.get("root") or ""))
    if not root.is_absolute() or not root.is_dir():
        return UpstreamCheck("", f"it lists {name}; its weights are not on this machine, and were not compared")
    for file in sorted(ours.glob("*.safetensors")):
        copy = root / file.name
        if not copy.is_file() or file_sha256(copy) != file_sha256(file):
            return UpstreamCheck(f"{copy} is not that file of the version: serve the folder {ours}", "")
    return UpstreamCheck("", f"it lists {name}, and the weights in {root} are the version's")
