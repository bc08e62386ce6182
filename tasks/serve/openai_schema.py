"""OpenAI's chat and completion requests, as far as a version answers them, and the documents that it answers with.

A version writes greedily, one answer at a time, as it was evaluated: whatever else a request asks for is refused, and
never left out in silence.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from retune.data import messages
from retune.serving.answers import ServedVersion
from retune.serving.writing import Written

Plain = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00]*$")]
Word = Annotated[str, Field(min_length=1, max_length=256)]
Zero = Annotated[float, Field(ge=0, le=0)]
One = Annotated[float, Field(ge=1, le=1)]
Count = Annotated[int, Field(ge=1)]
STRICT = ConfigDict(extra="forbid")
GREEDY = "Only 0: a version writes as it was evaluated, greedily."


class StreamOptions(BaseModel):
    model_config = STRICT
    include_usage: bool = False


class TextFormat(BaseModel):
    model_config = STRICT
    type: Literal["text"]


class TextPart(BaseModel):
    model_config = STRICT
    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    model_config = STRICT
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[TextPart], Field(min_length=1)]
    name: Plain | None = None
    tool_call_id: Plain | None = None


class WriteRequest(BaseModel):
    """What both routes take."""

    model_config = STRICT
    model: Annotated[Plain | None, Field(description="NAME, NAME@ALIAS or NAME/VERSION of what is served.")] = None
    max_tokens: Annotated[Count | None, Field(description="At most as many as the version learned to write.")] = None
    stop: Annotated[Word | list[Word] | None, Field(max_length=16, description="The answer ends before these.")] = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Annotated[Plain | None, Field(description="Who asks: one stays with one version in a rollout.")] = None
    temperature: Annotated[Zero | None, Field(description=GREEDY)] = None
    top_p: One | None = None
    n: One | None = None
    frequency_penalty: Zero | None = None
    presence_penalty: Zero | None = None
    seed: Annotated[int | None, Field(description="Changes nothing: equal prompts have equal answers.")] = None

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def with_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


class ChatRequest(WriteRequest):
    model_config = STRICT | ConfigDict(
        json_schema_extra={"examples": [{"messages": [{"role": "user", "content": "Where is my parcel?"}]}]}
    )
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Count | None = None
    logprobs: Literal[False] | None = None
    response_format: TextFormat | None = None

    @property
    def text(self) -> str:
        """The messages as a row stores them."""
        return messages.dump([_message(each) for each in self.messages])


class CompletionRequest(WriteRequest):
    model_config = STRICT | ConfigDict(json_schema_extra={"examples": [{"prompt": "Where is my parcel?"}]})
    prompt: Annotated[
        str | list[str],
        Field(min_length=1, description="What a user says: the version's template is put around each."),
    ]
    echo: Literal[False] | None = None
    best_of: One | None = None

    @property
    def texts(self) -> list[str]:
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt


def _message(message: ChatMessage) -> messages.Message:
    content = message.content
    text = content if isinstance(content, str) else "".join(part.text for part in content)
    role = "system" if message.role == "developer" else message.role
    extra = {"name": message.name, "tool_call_id": message.tool_call_id}
    return {"role": role, "content": text, **{key: value for key, value in extra.items() if value is not None}}


class Shape:
    """The documents of one response. id: the request's, by which feedback and outcomes name it."""

    def __init__(self, request_id: str, moment: int, is_chat: bool) -> None:
        self.request_id, self._moment, self._is_chat = request_id, moment, is_chat

    def whole(self, served: ServedVersion, answers: Sequence[Written]) -> dict[str, Any]:
        choices = [
            self._choice(place, self._text(each.label, "message"), each.finish) for place, each in enumerate(answers)
        ]
        return {
            **self._head(served, "chat.completion" if self._is_chat else "text_completion"),
            "choices": choices,
            "usage": usage(answers),
            "retune": about(self.request_id, served, answers),
        }

    def piece(self, served: ServedVersion, place: int, text: str) -> dict[str, Any]:
        return {**self._chunk(served), "choices": [self._choice(place, self._text(text, "delta"), None)]}

    def last_piece(self, served: ServedVersion, place: int, answer: Written) -> dict[str, Any]:
        empty: dict[str, Any] = {"delta": {}} if self._is_chat else {"text": ""}
        return {
            **self._chunk(served),
            "choices": [self._choice(place, empty, answer.finish)],
            "retune": about(self.request_id, served, [answer]),
        }

    def counts(self, served: ServedVersion, answers: Sequence[Written]) -> dict[str, Any]:
        return {**self._chunk(served), "choices": [], "usage": usage(answers)}

    def _chunk(self, served: ServedVersion) -> dict[str, Any]:
        return self._head(served, "chat.completion.chunk" if self._is_chat else "text_completion")

    def _head(self, served: ServedVersion, kind: str) -> dict[str, Any]:
        return {"id": self.request_id, "object": kind, "created": self._moment, "model": str(served)}

    def _text(self, text: str, key: str) -> dict[str, Any]:
        return {key: {"role": "assistant", "content": text}} if self._is_chat else {"text": text}

    def _choice(self, place: int, content: Mapping[str, Any], finish: str | None) -> dict[str, Any]:
        return {"index": place, **content, "logprobs": None, "finish_reason": finish}


def usage(answers: Sequence[Written]) -> dict[str, int]:
    prompt, completion = sum(each.prompt_tokens for each in answers), sum(each.completion_tokens for each in answers)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def about(request_id: str, served: ServedVersion, answers: Sequence[Written]) -> dict[str, Any]:
    """What OpenAI's API has no place for: which version answered, how sure it is, and who must read it."""
    results = [
        {"confidence": each.confidence, "route": each.route, "cut_prompt_tokens": each.cut_tokens} for each in answers
    ]
    return {"request_id": request_id, "version": str(served), "seal": served.seal, "results": results}
