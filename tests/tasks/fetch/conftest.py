"""A desk whose tickets can be had over HTTP, in every mood that a server has."""

import json
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from retune.config import params
from tasks.fetch.fetch import fetch
from tests.support.environment import READING, ROOT

COLUMNS = {"text": "body", "label": "queue", "id": "id", "group": None, "split": None, "rejected": None, "keep": []}
FETCH_SETTINGS = {
    "settle_seconds": 0.0,
    "timeout_seconds": 10.0,
    "attempts": 3,
    "pause_seconds": 0.0,
    "max_megabytes": 1,
}


class TicketServer:
    """Records in the order of `at`, answered from `since` on. What is in `moods` happens to the next requests."""

    def __init__(self, url):
        self.url, self.records, self.moods, self.requests = url, [], [], []
        self.inclusive, self.page, self.links, self.ignores = True, 1000, False, False

    def add(self, *records):
        self.records += [dict(zip(("id", "body", "queue", "at"), record, strict=True)) for record in records]
        self.records.sort(key=lambda record: record["at"])

    def lines(self, query):
        since = query.get("since", [""])[0]
        start = int(query.get("start", ["0"])[0])
        matches = [
            record
            for record in self.records
            if self.ignores or str(record["at"]) > since or (self.inclusive and str(record["at"]) == since)
        ]
        more = len(matches) > start + self.page
        return [json.dumps(record) for record in matches[start : start + self.page]], start + self.page if more else 0


def _handler(server_state):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            where = urlsplit(self.path)
            server_state.requests.append((self.path, dict(self.headers)))
            mood = server_state.moods.pop(0) if server_state.moods else None
            if callable(mood):
                return mood(self)
            lines, following = server_state.lines(parse_qs(where.query))
            body = "".join(line + "\n" for line in lines).encode()
            headers = {"Content-Length": str(len(body))}
            if server_state.links and following:
                since = parse_qs(where.query).get("since", [""])[0]
                headers["Link"] = f'<{where.path}?since={since}&start={following}>; rel="next"'
            if mood == "cut":
                body = body[: len(body) // 2]
            return answer(self, 200, body, headers)

    return Handler


def answer(handler, status, body=b"", headers=None):
    handler.send_response(status)
    for name, value in (headers or {"Content-Length": str(len(body))}).items():
        handler.send_header(name, value)
    handler.end_headers()
    with suppress(BrokenPipeError, ConnectionResetError):  # the reader had enough
        handler.wfile.write(body)
    handler.close_connection = True


@contextmanager
def serve_tickets():
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.daemon_threads = True
    tickets = TicketServer(f"http://127.0.0.1:{server.server_address[1]}/tickets")
    server.RequestHandlerClass = _handler(tickets)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield tickets
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def ticket_server():
    with serve_tickets() as opened:
        yield opened


@pytest.fixture
def open_ticket_server():
    return serve_tickets


@pytest.fixture
def server_reply():
    """A mood: answer with this status, body and headers, after `wait` seconds."""

    def mood(status=200, body=b"", headers=None, wait=0.0):
        def act(handler):
            time.sleep(wait)
            answer(handler, status, body, headers)

        return act

    return mood


class FetchRun:
    """The settings of one test, and what a fetch with them brings."""

    def __init__(self, folder):
        self.into, self.cursors, self.progress = folder / "into", {}, []
        self.settings = dict(FETCH_SETTINGS)

    def fetch(self, *sources, keep=True):
        values = {**self.settings, "sources": list(sources)}
        section = params.parse({**SHIPPED, "fetch": values}).fetch
        self.progress.clear()
        batches = fetch(section, self.cursors, self.into, self.progress.append)
        if keep:
            self.cursors = json.loads(json.dumps({batch.source: batch.cursor for batch in batches}))
        return batches

    def one(self, source, keep=True):
        (batch,) = self.fetch(source, keep=keep)
        return batch


def source(kind, **more):
    reading = {"reading": READING} if kind == "files" else {}
    return {"kind": kind, "name": "desk", "columns": COLUMNS, **reading, "licence": None, "collected": None, **more}


SHIPPED = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))


@pytest.fixture
def fetch_run(tmp_path):
    return FetchRun(tmp_path)


@pytest.fixture
def make_fetch_run():
    return FetchRun


@pytest.fixture
def define_source():
    return source


@pytest.fixture
def batch_ids():
    """The ids in the files of a batch, in their order."""

    def read(batch):
        assert not batch.error, batch.error
        rows = [json.loads(line) for file in batch.files for line in file.read_text("utf-8").splitlines()]
        assert len(rows) == batch.rows
        return [row["id"] for row in rows]

    return read
