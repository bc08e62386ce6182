"""An HTTP endpoint that returns JSONL: one JSON object a line, each with an id and a value that the cursor follows.

    GET https://desk.example.com/export?since=2026-11-20T08:00:00Z

It answers with the records from there on, oldest first, all of them or a page. Then it is asked again from where that
ended, until nothing new comes. A page must be longer than the number of records that share a value; an endpoint that
cannot promise that gives its own way on: `Link: <...>; rel="next"`, on the same host. Those pages must not shift when a
record changes meanwhile.

All or nothing: if one page does not come, nothing is taken. A page counts only if its body came whole, so an answer
without a length (neither Content-Length nor chunks) is refused: where it was cut it would look whole.
Not covered: ETags (what was seen before is little), and endpoints that name the newest first.
"""

import json
import logging
import os
import reprlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from retune.config.sources import EndpointSource, Fetch
from retune.data.intake_branch import Cursor
from retune.errors import Refused, WrongUse
from retune.system.retry import TransientError, retry_after_seconds
from tasks.fetch.connector import FetchResult, refuse_too_much, require, select_columns, with_retries
from tasks.fetch.watermark import JsonlWriter, Watermark, order_of, read_watermark

HOPS = 5  # redirects on the same host
SLOW = 10  # times the time-out that a whole page may take
BUSY = (408, 425, 429)

Record = dict[str, Any]


@dataclass(frozen=True)
class Page:
    """One whole answer."""

    name: str  # for people
    records: list[tuple[int, Record]]  # with the number of the line
    size: int
    next: httpx.URL | None


def take(
    source: EndpointSource, fetch_config: Fetch, cursor: Cursor, into: Path, say: Callable[[str], None]
) -> FetchResult:
    watermark, writer = read_watermark(cursor, order_of), JsonlWriter(into)
    names: dict[str, None] = {}
    size = 0
    with _client(source, fetch_config, say) as client:
        for page in _pages(client, source, fetch_config, watermark, writer, say):
            size += page.size
            refuse_too_much(size, fetch_config, page.name)
            names |= dict.fromkeys(name for _, record in page.records for name in record)
    if names:
        require(source.columns, list(names), _name(httpx.URL(source.url)), first=not cursor)
    return FetchResult(writer.close(), writer.rows, watermark.cursor())


def _pages(
    client: httpx.Client,
    source: EndpointSource,
    fetch_config: Fetch,
    watermark: Watermark,
    writer: JsonlWriter,
    say: Callable[[str], None],
) -> Iterator[Page]:
    """Every page, what is new of it written. Where the endpoint names no next page, it is asked until it says nothing
    new: from the lower of the two highest values, then from the highest, since a page may be full of what was seen.
    """
    url, linked = _from(source, watermark.lower), set[httpx.URL]()
    idle: dict[httpx.URL, Page] = {}  # questions that would bring nothing new, and their answers
    while True:
        page = with_retries(partial(_page, client, url, fetch_config), fetch_config, say)
        fresh = [_write_if_new(number, record, source, watermark, writer, page.name) for number, record in page.records]
        yield page
        if page.next and page.records:
            if page.next in linked:
                raise Refused(f"{page.name} names as the next page one that was read already: it goes round in circles")
            linked.add(url := page.next)
            continue
        idle = {url: page} if any(fresh) else {**idle, url: page}
        if linked or not page.records:
            return
        lower, last = (_from(source, value) for value in (watermark.lower, watermark.last))
        if lower in idle and last in idle:
            _refuse_full_page(idle[lower], idle[last], watermark, source)
            return
        url = last if lower in idle else lower


def _refuse_full_page(lower: Page, last: Page, watermark: Watermark, source: EndpointSource) -> None:
    """Raises Refused if the last answer was a page full of one value, behind which there may be more.

    Whoever asks from the lower value gets its records, too, and so more records, unless a page holds no more.
    """
    at_last = all(watermark.order(record[source.cursor.field]) == max(watermark.values) for _, record in last.records)
    if len(watermark.values) == 2 and at_last and len(last.records) >= len(lower.records):
        raise Refused(
            f"{last.name} gives {len(last.records)} records with {source.cursor.field} {watermark.last}, as many as"
            " a page holds: what comes after them cannot be reached. Let it give longer pages, or"
            ' `Link: <...>; rel="next"`'
        )


def _client(source: EndpointSource, fetch_config: Fetch, say: Callable[[str], None]) -> httpx.Client:
    headers = {"Accept": "application/x-ndjson, application/jsonl, */*;q=0.1", "User-Agent": "retune"}
    if source.authorization_env is not None:
        headers["Authorization"] = _secret(source.authorization_env)
        if source.url.startswith("http://"):
            say(f"what {source.authorization_env} holds is sent in clear, since the address is http://")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # below that it logs each address with its query
    return httpx.Client(headers=headers, timeout=fetch_config.timeout_seconds, follow_redirects=False)


def _secret(variable: str) -> str:
    """Never shown, not even where it is wrong."""
    secret = os.environ.get(variable, "").strip()
    if not secret:
        raise WrongUse(
            f"the environment has no {variable}, which params name as the Authorization of this source:"
            f" export {variable}='Bearer ...' where this runs"
        )
    if not (secret.isascii() and secret.isprintable()):
        raise WrongUse(f"{variable} holds characters that no HTTP header may hold: one line of plain ASCII is wanted")
    return secret


def _from(source: EndpointSource, value: Any | None) -> httpx.URL:
    """The address that asks for everything from `value` on; from the start if there is none yet."""
    url, since = httpx.URL(source.url), source.cursor.start if value is None else value
    return url if since is None else url.copy_merge_params({source.cursor.param: str(since)})


def _write_if_new(
    number: int, record: Record, source: EndpointSource, watermark: Watermark, writer: JsonlWriter, page: str
) -> bool:
    """Whether the record is new; then it is written."""
    where = f"{page}, line {number}"
    for column in (source.columns.id, source.cursor.field):
        if column not in record:
            raise Refused(
                f"{where} has no {column!r}; it has {', '.join(list(record)[:40])}. Mend the source in params"
            )
    line = json.dumps(select_columns(record, source.columns))
    if not watermark.passes(record[source.cursor.field], line, f"{where}: {source.cursor.field}"):
        return False
    writer.add(record[source.columns.id], line, f"{where}: {source.columns.id}")
    return True


def _page(client: httpx.Client, url: httpx.URL, fetch_config: Fetch) -> Page:
    """One answer. Raises TransientError if another attempt may help, Refused if it is not a page of records."""
    name = _name(url)
    try:
        for _ in range(HOPS):
            with client.stream("GET", url) as answer:
                if not answer.has_redirect_location:
                    body = _body(answer, name, fetch_config)
                    return Page(name, _records(body, name), len(body), _link(answer, url, name))
                url = _same_host(url, url.join(answer.headers["location"]), name)
    except (httpx.TransportError, httpx.DecodingError) as error:
        raise TransientError(f"{name}: {str(error) or type(error).__name__}") from None
    except httpx.InvalidURL as error:
        raise Refused(f"{name} points to what is no address: {error}") from None
    raise Refused(f"{name} sends from one address to the next, more than {HOPS} times")


def _name(url: httpx.URL) -> str:
    """The address as people are told it: without its query, which may hold a secret."""
    return f"{url.scheme}://{url.netloc.decode('ascii')}{url.path}"


def _same_host(url: httpx.URL, target: httpx.URL, name: str) -> httpx.URL:
    """`target`, if it is no other host: a token must not travel, and rows must come from where params say."""
    upgraded = url.scheme == "http" and target.scheme == "https"
    if target.host != url.host or not (upgraded or (target.scheme, target.port) == (url.scheme, url.port)):
        raise Refused(
            f"{name} sends on to {target.scheme}://{target.netloc.decode('ascii')}, which is another host: that is not"
            " followed. Where the token is missing or too old this is the login page; if it moved, mend `url`"
        )
    return target


def _link(answer: httpx.Response, url: httpx.URL, name: str) -> httpx.URL | None:
    target = answer.links.get("next", {}).get("url")
    return _same_host(url, url.join(target), name) if target else None


def _body(answer: httpx.Response, name: str, fetch_config: Fetch) -> bytes:
    if answer.status_code in BUSY or answer.status_code >= 500:
        pause = retry_after_seconds(answer.headers.get("retry-after"))
        raise TransientError(f"{name} answers {answer.status_code} {answer.reason_phrase}", pause)
    if answer.status_code == 204:
        return b""
    if answer.status_code != 200:
        hint = "the token is wrong, too old, or may not read this" if answer.status_code in (401, 403) else "mend `url`"
        raise Refused(f"{name} answers {answer.status_code} {answer.reason_phrase}: {hint}")
    if "content-length" not in answer.headers and "chunked" not in answer.headers.get("transfer-encoding", "").lower():
        raise Refused(f"{name} answers without a length, so that a cut answer would look whole: let it send one")
    deadline, body = time.monotonic() + SLOW * fetch_config.timeout_seconds, bytearray()
    for chunk in answer.iter_bytes():
        body += chunk
        refuse_too_much(len(body), fetch_config, name)
        if time.monotonic() > deadline:
            raise TransientError(f"{name} sends its answer slower than {SLOW} times fetch.timeout_seconds")
    return bytes(body)


def _records(body: bytes, name: str) -> list[tuple[int, Record]]:
    body = body.removeprefix(b"\xef\xbb\xbf")
    if body.lstrip()[:1] == b"<":
        raise Refused(f"{name} answers with a web page, a login page perhaps, where JSONL is wanted: see the token")
    if body.lstrip()[:1] == b"[":
        raise Refused(f"{name} answers with a JSON array: one object a line is wanted (JSONL)")
    lines = [(number, line.strip()) for number, line in enumerate(body.split(b"\n"), 1)]
    last = lines[-1][0]
    return [(number, _record(line, number == last, f"{name}, line {number}")) for number, line in lines if line]


def _record(line: bytes, is_last: bool, where: str) -> Record:
    """What the line says. A last line without an end that says nothing was cut."""
    try:
        # Numbers stay as they are written: an id or a cursor may have twenty digits.
        record = json.loads(line.decode("utf-8"), parse_int=str, parse_float=str, parse_constant=lambda _: None)
    except UnicodeDecodeError as error:
        if is_last:
            raise TransientError(f"{where} is cut") from None
        raise Refused(f"{where} is not UTF-8: byte {error.start} is 0x{line[error.start]:02x}") from None
    except ValueError:
        if is_last:
            raise TransientError(f"{where} is cut: {reprlib.repr(line[-40:].decode('utf-8', 'replace'))}") from None
        raise Refused(
            f"{where} is no JSON: {reprlib.repr(line.decode('utf-8'))}. One object a line is wanted"
        ) from None
    except RecursionError:
        raise Refused(f"{where}: objects too deep in one another") from None
    if not isinstance(record, dict):
        raise Refused(f"{where} is {reprlib.repr(record)}: one object a line is wanted (JSONL)")
    return record
