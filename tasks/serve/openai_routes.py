"""OpenAI's API for versions that write: POST /v1/chat/completions and /v1/completions, GET /v1/models.

The id of a response is the request's, by which feedback and outcomes name it. Field `retune` says what OpenAI's API has
no place for: version, seal, confidence and route. A client that goes away ends the writing.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.routing import APIRoute

from retune.serving.answers import BadAnswer, ServedVersion, Unanswered, Unavailable
from retune.serving.live_version import LiveVersion
from retune.serving.router import Routed
from retune.serving.writing import Prompt, Written
from tasks.serve.errors import RequestRefused, refusal_of
from tasks.serve.openai_schema import ChatRequest, CompletionRequest, Shape, WriteRequest
from tasks.serve.service import Service

CLIENT_LEFT = 499  # as proxies log it; nobody reads it
TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
Piece = tuple[int, ServedVersion, str]  # place of the prompt, who writes, what comes next


class OpenAIRoute(APIRoute):
    """A route whose errors have OpenAI's form, beside ours."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except (RequestRefused, Unanswered, RequestValidationError) as error:
                return _refusal(error, request.state.request_id)

        return answer


def routes(service: Service) -> APIRouter:
    router = APIRouter(route_class=OpenAIRoute, dependencies=[Depends(service.needs("predict"))])

    @router.post("/v1/chat/completions")
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        """The next message of a conversation."""
        limit = body.max_completion_tokens or body.max_tokens
        return await _respond(service, request, body, [body.text], limit, is_chat=True)

    @router.post("/v1/completions")
    async def completions(body: CompletionRequest, request: Request) -> Response:
        """The answer to each prompt, which is what a user says."""
        return await _respond(service, request, body, body.texts, body.max_tokens, is_chat=False)

    @router.get("/v1/models")
    async def models() -> dict[str, Any]:
        """What is served, by the names that `model` takes."""
        return {"object": "list", "data": [_card(live) for live in service.models.values()]}

    return router


def _card(live: LiveVersion) -> dict[str, Any]:
    served = live.served
    ours = {"version": str(served), "seal": served.seal, "writes": served.writes}
    return {
        "id": served.name,
        "object": "model",
        "created": 0,
        "owned_by": "retune",
        "root": str(served),
        "retune": ours,
    }


def _model(service: Service, name: str | None) -> str | None:
    """The registered name of a model that writes, by one of its names. Raises RequestRefused if there is none."""
    models = service.models
    for live in models.values():
        if name in (live.reference, str(live.served)):
            name = live.served.name
    if name is not None and name not in models:
        raise RequestRefused(404, "model_not_found", f"there is no model {name[:100]!r}: GET /v1/models lists them")
    service.router(name)  # refuses where several are served, and none is named
    live = models[name] if name else next(iter(models.values()))
    if not live.served.writes:
        raise RequestRefused(404, "model_not_found", f"{live.served} labels texts: ask it by POST /v1/predict")
    return live.served.name


async def _respond(
    service: Service, request: Request, body: WriteRequest, texts: Sequence[str], limit: int | None, is_chat: bool
) -> Response:
    model = _model(service, body.model)
    shape = Shape(request.state.request_id, int(time.time()), is_chat)
    pieces = _Pieces() if body.stream else None
    prompts = [
        Prompt(text, limit, body.stops, pieces.taker(place) if pieces else None) for place, text in enumerate(texts)
    ]
    writing = asyncio.create_task(service.answer(request, prompts, body.user, model))
    if pieces:
        writing.add_done_callback(pieces.end)
    if not await _connected(request, pieces.first.wait() if pieces else asyncio.wait([writing]), writing):
        return Response(status_code=CLIENT_LEFT)
    if pieces and pieces.served:
        return StreamingResponse(
            _events(writing, pieces, shape, body.with_usage),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-cache", **_headers(pieces.served)},
        )
    routed = await writing
    answers = _written(routed)
    if pieces:  # an answer without a letter
        events = [*_ends(shape, routed.served, answers, body.with_usage)]
        return Response("".join(events), media_type="text/event-stream", headers=_headers(routed.served))
    headers = _headers(routed.served)
    if len(answers) == 1:
        headers |= {"X-Retune-Confidence": f"{answers[0].confidence:.6g}", "X-Retune-Route": answers[0].route}
    return JSONResponse(shape.whole(routed.served, answers), headers=headers)


class _Pieces:
    """The pieces of answers as they come, of the version that began to write: another one cannot go on for it."""

    def __init__(self) -> None:
        self.served: ServedVersion | None = None
        self.first = asyncio.Event()  # something is there to be sent, or nothing will be
        self.queue: asyncio.Queue[Piece | None] = asyncio.Queue()

    def taker(self, place: int) -> Callable[[ServedVersion, str], None]:
        def take(served: ServedVersion, text: str) -> None:
            self.served = self.served or served
            if served == self.served:
                self.queue.put_nowait((place, served, text))
                self.first.set()

        return take

    def end(self, _: asyncio.Task[Routed]) -> None:
        self.queue.put_nowait(None)
        self.first.set()


async def _connected(request: Request, event: Coroutine[Any, Any, Any], writing: asyncio.Task[Routed]) -> bool:
    """Whether `event` came before the client went away. If not, the writing is ended."""
    coming, leaving = asyncio.create_task(event), asyncio.create_task(_left(request))
    try:
        await asyncio.wait({coming, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if coming.done():
            return True
        await _stop(writing)
        return False
    except asyncio.CancelledError:
        await _stop(writing)
        raise
    finally:
        coming.cancel()
        leaving.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _stop(writing: asyncio.Task[Routed]) -> None:
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)


async def _events(writing: asyncio.Task[Routed], pieces: _Pieces, shape: Shape, with_usage: bool) -> AsyncIterator[str]:
    """Server-sent events: the pieces, the last ones with what `retune` says, and [DONE]; or an error."""
    try:
        while piece := await pieces.queue.get():
            place, served, text = piece
            yield _event(shape.piece(served, place, text))
        routed = await writing
        if routed.served != pieces.served:
            raise BadAnswer(f"{pieces.served} broke off in the middle of its answer: ask again")
        for event in _ends(shape, routed.served, _written(routed), with_usage):
            yield event
    except Unanswered as error:
        yield _event(_error(error.status, error.kind, str(error), None, shape.request_id))
    finally:  # the client has gone, perhaps
        await _stop(writing)


def _ends(shape: Shape, served: ServedVersion, answers: Sequence[Written], with_usage: bool) -> list[str]:
    events = [shape.last_piece(served, place, answer) for place, answer in enumerate(answers)]
    counts = [shape.counts(served, answers)] if with_usage else []
    return [*map(_event, [*events, *counts]), "data: [DONE]\n\n"]


def _event(document: dict[str, Any]) -> str:
    return f"data: {json.dumps(document)}\n\n"


def _written(routed: Routed) -> list[Written]:
    answers = [each for each in routed.answers if isinstance(each, Written)]
    if len(answers) != len(routed.answers):
        raise Unavailable(f"{routed.served} labels texts, and answered for a version that writes: ask again")
    return answers


def _headers(served: ServedVersion) -> dict[str, str]:
    return {"X-Retune-Version": str(served), "X-Retune-Seal": served.seal}


def _refusal(error: RequestRefused | Unanswered | RequestValidationError, request_id: str) -> Response:
    refusal = refusal_of(error)
    status, kind, message, param = refusal.status, refusal.kind, refusal.message, None
    if isinstance(error, RequestValidationError):
        status, first = 400, error.errors()[0]  # as OpenAI's API does
        if first["type"] != "json_invalid":
            param = ".".join(str(part) for part in first["loc"] if part != "body")[:100] or None
        if first["type"] == "extra_forbidden":
            kind, message = "unsupported_parameter", f"a version does nothing with {param}: leave it out"
    return JSONResponse(_error(status, kind, message, param, request_id), status, refusal.headers)


def _error(status: int, kind: str, message: str, param: str | None, request_id: str) -> dict[str, Any]:
    """In OpenAI's form, with `kind` and `request_id` as elsewhere."""
    type_ = TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    fields = {"message": message, "type": type_, "param": param, "code": kind}
    return {"error": {**fields, "kind": kind, "request_id": request_id}}
