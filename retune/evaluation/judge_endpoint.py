"""The endpoint of a model as judge: any that speaks OpenAI's chat completions. Adapter of httpx for evaluation.

The key comes from the environment variable that params name. It goes into one header and nowhere else: no message of
this module shows it, also not where the endpoint sends it back. Prompts and answers go to the endpoint: ask the owner
of the rows before you name one that is not yours.
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import httpx

from retune.errors import Broken, Refused, WrongUse
from retune.system.retry import RetryPolicy, TransientError, retry, retry_after_seconds

BUSY = (408, 409, 425, 429)
SLOW = 4  # times the time-out that a whole answer may take
LONGEST_PAUSE = 60.0  # seconds, also if the endpoint asks for more
LARGEST = 1 << 20  # bytes of an answer
HEADER = re.compile(r"[!-~]+")

Message = dict[str, str]
Ask = Callable[[list[Message]], str]
Log = Callable[[str], None]


class Settings(Protocol):
    """The section of params that names a judge."""

    @property
    def url(self) -> str: ...  # up to and without /chat/completions; empty: no judge
    @property
    def model(self) -> str: ...
    @property
    def key_env(self) -> str | None: ...  # name of the environment variable that holds the key; None: no key
    @property
    def criterion(self) -> str: ...  # what is better, in words
    @property
    def timeout_seconds(self) -> float: ...
    @property
    def attempts(self) -> int: ...
    @property
    def pause_seconds(self) -> float: ...  # before the second attempt; twice as long before each further one


@contextmanager
def connect(settings: Settings, log: Log) -> Iterator[Ask]:
    """A function that asks the judge. Raises WrongUse for impossible settings, before it sends anything.

    Asking raises Broken if the endpoint does not answer or answers nonsense, Refused if it rejects the request.
    """
    url = _address(settings.url)
    headers = {"User-Agent": "retune"}
    if settings.key_env is not None:
        headers["Authorization"] = f"Bearer {_key(settings.key_env)}"
        if url.scheme == "http" and url.host not in ("localhost", "127.0.0.1", "::1"):
            log(f"The judge's address is http://, so the value of {settings.key_env} travels unencrypted. Use https://")
    with httpx.Client(headers=headers, timeout=settings.timeout_seconds, follow_redirects=False) as client:
        yield lambda messages: _ask(client, url, messages, settings, log)


def _address(address: str) -> httpx.URL:
    try:
        url = httpx.URL(address.rstrip("/") + "/chat/completions")
    except httpx.InvalidURL as error:
        raise WrongUse(f"The judge's url is not an address: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise WrongUse(
            "The judge's url must begin with http:// or https:// and name a host. Leave it empty for no judge"
        )
    if url.userinfo or url.query:
        raise WrongUse(
            f"The judge's url at {url.host} holds a user, password or query, which would end up in records. Write the "
            "bare address, and put the key into the environment variable that key_env names"
        )
    return url


def _key(variable: str) -> str:
    """The key, which no message ever shows."""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise WrongUse(f"The environment lacks {variable}, which params name as the judge's key. export {variable}=...")
    if not HEADER.fullmatch(key):
        raise WrongUse(
            f"{variable} holds characters that an HTTP header cannot hold. It must be one word of plain ASCII"
        )
    return key


def _ask(client: httpx.Client, url: httpx.URL, messages: list[Message], settings: Settings, log: Log) -> str:
    body = {"model": settings.model, "messages": messages, "temperature": 0}
    policy = RetryPolicy(settings.attempts, settings.pause_seconds, LONGEST_PAUSE)
    try:
        return retry(
            lambda: _ask_once(client, url, body, settings), policy, lambda message: log(f"The judge: {message}")
        )
    except TransientError as error:
        raise Broken(
            f"The judge gave no answer in {settings.attempts} attempts: {error}. Is {url} up? Ask it by hand"
        ) from None


def _ask_once(client: httpx.Client, url: httpx.URL, body: dict[str, Any], settings: Settings) -> str:
    deadline, content = time.monotonic() + SLOW * settings.timeout_seconds, bytearray()
    try:
        with client.stream("POST", url, json=body) as response:
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > LARGEST:
                    raise Broken(f"{url} answers with more than {LARGEST} bytes: that is not a chat completion")
                if time.monotonic() > deadline:
                    raise TransientError(f"{url} sends its answer slower than {SLOW} times timeout_seconds")
    except (httpx.TransportError, httpx.DecodingError) as error:
        raise TransientError(f"{url}: {str(error) or type(error).__name__}") from None
    _check_status(response, url)
    return _parse_completion(bytes(content), url)


def _check_status(response: httpx.Response, url: httpx.URL) -> None:
    """Names only status and reason: the body of such a response may repeat the key."""
    status = f"{url} answers {response.status_code} {httpx.codes.get_reason_phrase(response.status_code)}".strip()
    if response.status_code in BUSY or response.status_code >= 500:
        raise TransientError(status, retry_after_seconds(response.headers.get("retry-after")))
    if response.status_code in (401, 403):
        raise Refused(f"{status}: the judge's key is wrong, too old, or may not use this model")
    if response.is_redirect:
        raise Refused(
            f"{status}: it redirects to another address, to which the key must not travel. Fix the judge's url"
        )
    if response.status_code != 200:
        raise Refused(f"{status}: fix the judge's url or model, or read the log of the endpoint for the reason")


def _parse_completion(body: bytes, url: httpx.URL) -> str:
    try:
        content = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        raise Broken(
            f"{url} answers with something other than a chat completion. Is it an OpenAI-compatible API?"
        ) from None
    return content if isinstance(content, str) else ""
