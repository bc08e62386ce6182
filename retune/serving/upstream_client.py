"""A server that speaks OpenAI's API: what is sent to it, and what is believed of what comes back. Adapter of httpx.

Every call ends by its deadline with an answer or an Unanswered, whatever the server does: dead, hung, slow, half an
answer, another schema, not a number. A request is sent again only where nothing of an answer came back, and the server
was not reached or was busy. The key goes into one header; no message shows it, also not where the server repeats it.
"""

import asyncio
import json
import logging
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx

from retune.config.writing import UpstreamServer
from retune.errors import WrongUse
from retune.serving.answers import BadAnswer, Overloaded, TooLate, Unavailable
from retune.system.retry import RetryPolicy, TransientError, retry_after_seconds

LOG = logging.getLogger("retune.serve")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
BUSY = (408, 425, 429, 503)
LARGEST = 8 << 20  # bytes of an answer
LONGEST_LINE = 1 << 20  # bytes of an event
PAUSE, LONGEST_PAUSE = 0.1, 10.0  # seconds before the second attempt, and before any
HEADER = re.compile(r"[!-~]+")
DONE = "[DONE]"

Body = dict[str, Any]
T = TypeVar("T")


class UpstreamClient:
    """One server. Raises WrongUse if the environment lacks its key."""

    def __init__(self, config: UpstreamServer) -> None:
        self.url = config.url.rstrip("/")
        self._config, self._under_way, self._ended = config, 0, asyncio.Event()
        headers = {"User-Agent": "retune"}
        if config.key_env is not None:
            headers["Authorization"] = f"Bearer {_key(config.key_env)}"
            address = httpx.URL(self.url)
            if address.scheme == "http" and address.host not in LOOPBACK:
                LOG.warning("the key in %s travels unencrypted to %s: use https://", config.key_env, self.url)
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(None, connect=config.connect_seconds),  # the deadline bounds the rest
            limits=httpx.Limits(max_connections=config.requests + 1, max_keepalive_connections=config.requests),
            follow_redirects=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Once the requests that are under way have ended."""
        while self._under_way:
            self._ended.clear()
            await self._ended.wait()
        await self._client.aclose()

    async def get(self, path: str, deadline: float) -> Any:
        """What the server says of itself: decoded JSON."""
        async with self._answer("GET", path, None, deadline) as response:
            return _decoded(await self._by(deadline, _read(response)), self.url)

    async def post(self, path: str, body: Body, deadline: float) -> Any:
        """The whole answer to a body: decoded JSON."""
        async with self._turn(), self._answer("POST", path, body, deadline) as response:
            return _decoded(await self._by(deadline, _read(response)), self.url)

    async def events(self, path: str, body: Body, deadline: float) -> AsyncGenerator[Any, None]:
        """The events of an answer in pieces, decoded, as they come (server-sent events). Whoever closes it early ends
        the request. Raises BadAnswer if it breaks off before its end."""
        async with self._turn(), self._answer("POST", path, body, deadline) as response:
            lines = _lines(response)
            while (line := await self._by(deadline, anext(lines, None))) is not None:
                name, _, value = line.partition(":")
                if name != "data":  # a comment that keeps the connection open, or a name of an event
                    continue
                if value.strip() == DONE:
                    return
                yield _decoded(value.encode(), self.url)
        raise BadAnswer(f"{self.url} broke off in the middle of an answer")

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._under_way >= self._config.requests:
            raise Overloaded(f"{self._under_way} requests to {self.url} are under way: ask again later")
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._ended.set()

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, body: Body | None, deadline: float
    ) -> AsyncIterator[httpx.Response]:
        """A response of status 200 whose body is still to be read."""
        response = await self._by(deadline, self._opened(method, path, body, deadline))
        try:
            yield response
        finally:
            await response.aclose()

    async def _by(self, deadline: float, work: Awaitable[T]) -> T:
        """The result of one step. The deadline is never left open around a `yield`: it would end whoever reads."""
        try:
            async with asyncio.timeout_at(deadline):
                return await work
        except TimeoutError:
            raise TooLate(f"{self.url} had not answered at the deadline") from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise BadAnswer(f"{self.url} broke off in the middle of an answer: {_words(error)}") from None

    async def _opened(self, method: str, path: str, body: Body | None, deadline: float) -> httpx.Response:
        """Tries again while nothing came back and the deadline leaves time to."""
        policy = RetryPolicy(self._config.attempts, PAUSE, LONGEST_PAUSE)
        attempt = 1
        while True:
            try:
                return await self._send(method, path, body)
            except TransientError as error:
                pause = policy.pause(attempt, error.retry_after)
                if attempt == policy.attempts or asyncio.get_running_loop().time() + pause >= deadline:
                    raise _why(error) from None
            await asyncio.sleep(pause)
            attempt += 1

    async def _send(self, method: str, path: str, body: Body | None) -> httpx.Response:
        request = self._client.build_request(method, self.url + path, json=body)
        try:
            response = await self._client.send(request, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.RemoteProtocolError, httpx.ReadError) as error:
            raise TransientError(f"{self.url} is not there: {_words(error)}") from None
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise Unavailable(f"{self.url} cannot be asked: {_words(error)}") from None
        if response.status_code != 200:
            await response.aclose()
            raise _refusal(response, self.url)
        return response


class _Busy(TransientError):
    """The server is there, and asks to come back later."""


def _why(error: TransientError) -> Overloaded | Unavailable:
    if isinstance(error, _Busy):
        return Overloaded(str(error), error.retry_after or 1.0)
    return Unavailable(str(error))


def _refusal(response: httpx.Response, url: str) -> Exception:
    """Names only status and reason: the body of such a response may repeat the key."""
    code = response.status_code
    status = f"{url} answers {code} {httpx.codes.get_reason_phrase(code)}".strip()
    if code in BUSY:
        return _Busy(status, retry_after_seconds(response.headers.get("retry-after")))
    if code in (401, 403):
        return Unavailable(f"{status}: its key is missing, wrong, or may not use this model")
    if code == 404:
        return Unavailable(f"{status}: it has no such model, or its address is another one")
    if response.is_redirect:
        return Unavailable(f"{status}: it redirects to another address, which is not followed. Fix its url")
    if code >= 500:
        return Unavailable(f"{status}: its log says why")
    return BadAnswer(f"{status}: it does not take what was asked; see its log, and `prompts` of this upstream")


async def _read(response: httpx.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > LARGEST:
            raise BadAnswer(f"{response.url.host} answers with more than {LARGEST} bytes")
    return bytes(content)


async def _lines(response: httpx.Response) -> AsyncIterator[str]:
    """Lines of UTF-8, each of a bounded length."""
    rest = b""
    async for chunk in response.aiter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace").rstrip("\r")
        if len(rest) > LONGEST_LINE:
            raise BadAnswer(f"{response.url.host} sends an event of more than {LONGEST_LINE} bytes")
    if rest:
        yield rest.decode("utf-8", "replace")


def _decoded(content: bytes, url: str) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise BadAnswer(f"{url} answers with what is no JSON") from None


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _key(variable: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not key:
        raise WrongUse(f"the environment lacks {variable}, which an upstream names as its key", remedy="export it")
    if not HEADER.fullmatch(key):
        raise WrongUse(f"{variable} holds characters that an HTTP header cannot hold", remedy="one word of plain ASCII")
    return key
