"""The edge of the server, before any route: the request's id, its host, its size and its deadline.

Pure ASGI. Whatever goes wrong inside ends here as a typed error, and never as a traceback.
"""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Collection
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retune.config.serving import Serve
from tasks.serve import errors
from tasks.serve.errors import RequestRefused
from tasks.serve.metrics import RequestMetrics

LOG = logging.getLogger("retune.serve")
ID_HEADER = b"x-request-id"
PLAIN = re.compile(r"[A-Za-z0-9._-]{1,64}")
MEGABYTE = 1_000_000


class Edge:
    """hosts: names by which this server may be asked, or None for any. They keep a page of another site, whose name
    leads here, from reading answers (DNS rebinding)."""

    def __init__(
        self, app: ASGIApp, config: Serve, metrics: RequestMetrics, hosts: Collection[str] | None = None
    ) -> None:
        self._app, self._metrics, self._hosts = app, metrics, hosts
        self._limit, self._seconds = int(config.max_megabytes * MEGABYTE), config.deadline_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = _request_id(headers)
        deadline = asyncio.get_running_loop().time() + self._seconds
        scope.setdefault("state", {}).update(request_id=request_id, deadline=deadline)
        reply = _Reply(send, request_id)
        begin = time.perf_counter()
        try:
            self._check(scope, headers)
            content = await self._content(headers, receive, deadline)
            await self._app(scope, _replay(content, receive), reply)
        except RequestRefused as refusal:
            await reply.refuse(refusal)
        except asyncio.CancelledError:  # the server ends, and has waited for this request as long as it may
            await reply.refuse(RequestRefused(503, "unavailable", "the server ends: ask again", {"Retry-After": "1"}))
        except Exception:
            LOG.exception("request %s failed", request_id)
            await reply.refuse(RequestRefused(500, "failed", "the server failed: its log has this request's id"))
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.observe(route, reply.status, time.perf_counter() - begin)

    def _check(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        host = headers.get(b"host", b"").decode("latin-1")
        if self._hosts is not None and re.sub(r":\d+$", "", host) not in self._hosts:
            raise RequestRefused(403, "forbidden", "this server is asked by its own name only: use 127.0.0.1")
        kind = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
        if scope["method"] == "POST" and kind != "application/json":
            raise RequestRefused(415, "unsupported_media_type", "the body must be JSON: Content-Type: application/json")
        if headers.get(b"content-length", b"0").isdigit() and int(headers.get(b"content-length", b"0")) > self._limit:
            raise self._too_large()

    async def _content(self, headers: dict[bytes, bytes], receive: Receive, deadline: float) -> bytes:
        """The whole body. Raises RequestRefused once it is too large, or if it is not complete by the deadline."""
        if b"content-length" not in headers and b"transfer-encoding" not in headers:
            return b""
        parts, size = [], 0
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    message = await receive()
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > self._limit:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            raise RequestRefused(408, "timeout", f"the body was not complete after {self._seconds:g} s") from None

    def _too_large(self) -> RequestRefused:
        limit = f"{self._limit / MEGABYTE:g} MB"
        return RequestRefused(413, "too_large", f"the body is larger than {limit}: send fewer texts at once")


class _Reply:
    """Sends on, with the request's id as a header, and knows whether an answer has begun."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self._id, self.status = send, request_id, 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", []), (ID_HEADER, self._id.encode())]
            message = {**message, "headers": headers}
        await self._send(message)

    async def refuse(self, refusal: RequestRefused) -> None:
        if self.status:  # half an answer has gone: all that is left is to close the connection
            return
        content = errors.body(refusal.kind, refusal.message, self._id)
        headers = {
            "content-type": "application/json",
            "content-length": str(len(content)),
            "connection": "close",
            **refusal.headers,
        }
        pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self({"type": "http.response.start", "status": refusal.status, "headers": pairs})
        await self._send({"type": "http.response.body", "body": content})


def _request_id(headers: dict[bytes, bytes]) -> str:
    """The client's, if it is a plain word, or a new one."""
    proposed = headers.get(ID_HEADER, b"").decode("latin-1")
    return proposed if PLAIN.fullmatch(proposed) else uuid.uuid4().hex


def _replay(content: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read, and then what the connection says."""
    waiting: list[Any] = [{"type": "http.request", "body": content, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay
