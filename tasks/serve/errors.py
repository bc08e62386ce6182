"""What a client gets instead of an answer: `{"error": {"kind", "message", "request_id"}}` with a fitting status."""

import json
import logging
import math
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from retune.serving import database
from retune.serving.answers import Overloaded, Unanswered, Unavailable

LOG = logging.getLogger("retune.serve")
KINDS = {400: "malformed", 404: "not_found", 405: "method_not_allowed"}  # of what the framework itself refuses
RETRY_SOON = 1.0  # seconds
SHOWN = 3  # wrong fields that a message names


class RequestRefused(Exception):
    """A request that is refused before a model sees it."""

    def __init__(self, status: int, kind: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.kind, self.message, self.headers = status, kind, message, dict(headers or {})


def body(kind: str, message: str, request_id: str) -> bytes:
    """ASCII, so that any text of a client can be quoted in it."""
    return json.dumps({"error": {"kind": kind, "message": message, "request_id": request_id}}).encode()


def retry_after(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(max(math.ceil(seconds), 1))}


def add_handlers(app: FastAPI) -> None:
    for kind in (RequestRefused, Unanswered, RequestValidationError):
        app.add_exception_handler(kind, _answered)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(database.FAILS, _unrecorded)


async def _unrecorded(request: Request, error: Any) -> Response:
    LOG.error("request %s: the database of what is served fails: %s", request.state.request_id, error.orig)
    message = "the database of what is served is away or damaged, and nothing was recorded: send it again later"
    return _response(request, 503, Unavailable.kind, message, retry_after(RETRY_SOON))


def _response(request: Request, status: int, kind: str, message: str, headers: Mapping[str, str]) -> Response:
    content = body(kind, message, request.state.request_id)
    return Response(content, status, headers=dict(headers), media_type="application/json")


async def _answered(request: Request, error: Any) -> Response:
    if isinstance(error, Unanswered) and error.status == 500:
        LOG.error("request %s failed", request.state.request_id, exc_info=error)
    refusal = refusal_of(error)
    return _response(request, refusal.status, refusal.kind, refusal.message, refusal.headers)


def refusal_of(error: RequestRefused | Unanswered | RequestValidationError) -> RequestRefused:
    """What a client learns of an error. Of a body that does not fit, the wrong fields without their values: these may
    be secret, or no JSON."""
    if isinstance(error, RequestRefused):
        return error
    if isinstance(error, Unanswered):
        waits = isinstance(error, Overloaded | Unavailable)
        headers = retry_after(getattr(error, "retry_after", RETRY_SOON)) if waits else None
        return RequestRefused(error.status, error.kind, str(error), headers)
    problems = error.errors()
    if problems and problems[0]["type"] == "json_invalid":
        reason = problems[0].get("ctx", {}).get("error", "")
        return RequestRefused(400, KINDS[400], f"the body is not JSON ({reason}): see /docs for an example")
    fields = [f"{_place(problem['loc'])}: {problem['msg'][:200]}" for problem in problems[:SHOWN]]
    return RequestRefused(422, "invalid", f"{'; '.join(fields)}. See /docs for an example")


def _place(loc: tuple[str | int, ...]) -> str:
    return ".".join(str(part)[:40] for part in loc if part != "body") or "body"


async def _http(request: Request, error: Any) -> Response:
    kind = KINDS.get(error.status_code, "refused")
    return _response(request, error.status_code, kind, f"{error.detail}: see /docs", error.headers or {})
