"""What is asked of a server that is busy, or is none; Prefect's own answers 503 while its SQLite is locked."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from flows.execution import prefect_api


@contextmanager
def answers(*codes):
    """A server that answers with these codes in their order, the last one from then on. Yields what it was asked."""
    codes_left, requests = list(codes), []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_POST(self):
            requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            body = json.dumps({"number": len(requests)}).encode()
            self.send_response(codes_left.pop(0) if len(codes_left) > 1 else codes_left[0])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    opened = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=opened.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{opened.server_address[1]}/api", requests
    finally:
        opened.shutdown()
        opened.server_close()


@pytest.fixture
def recorded_sleeps(monkeypatch):
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


@pytest.mark.parametrize("code", prefect_api.BUSY)
def test_a_busy_server_is_asked_the_same_again(code, recorded_sleeps, monkeypatch):
    with answers(code, code, 201) as (url, requests):
        monkeypatch.setenv("PREFECT_API_URL", url)
        assert prefect_api.ask("POST", "/runs", {"a": 1}) == {"number": 3}
    assert requests == [{"a": 1}] * 3
    assert recorded_sleeps == [0.5, 1]


def test_one_that_stays_busy_is_away_and_its_answer_is_told(recorded_sleeps, monkeypatch):
    with answers(503) as (url, requests):
        monkeypatch.setenv("PREFECT_API_URL", url)
        with pytest.raises(prefect_api.Away, match=r"answers 503 to /runs: .*number"):
            prefect_api.ask("POST", "/runs", {})
    assert recorded_sleeps == [0.5, 1, 2, 4] and len(requests) == prefect_api.POLICY.attempts


def test_an_error_of_another_kind_is_told_at_once_and_what_is_not_there_is_none(recorded_sleeps, monkeypatch):
    with answers(500, 404) as (url, _):
        monkeypatch.setenv("PREFECT_API_URL", url)
        with pytest.raises(prefect_api.Away, match="answers 500 to /runs"):
            prefect_api.ask("POST", "/runs", {})
        assert prefect_api.ask("POST", "/runs", {}) is None
    assert recorded_sleeps == []
