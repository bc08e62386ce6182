import asyncio
import http.client
import json
import signal
import socket
import threading
import time
import urllib.error
import urllib.request

import pytest

from retune.errors import Broken, WrongUse
from retune.serving import api_keys
from tasks.serve import server


@pytest.fixture
def running(make_service, monkeypatch):
    """A server in a thread: its address, itself and its service."""
    monkeypatch.setattr(server, "LINGER", 0.2)
    service = make_service()
    listener = server._listen("127.0.0.1", 0)
    running = server.Server(service)
    thread = threading.Thread(target=lambda: asyncio.run(running.serve(sockets=[listener])), daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.005)
    yield listener.getsockname()[1], running, service, thread
    running.should_exit = True
    thread.join(10)


def ask(port, path="/v1/predict", body=b'{"texts": ["a"]}'):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


def test_a_server_that_is_told_to_end_says_so_and_ends_its_requests_first(running):
    port, server_, service, thread = running
    service.models["desk"].engine.seconds = 0.5
    answers = []
    slow = threading.Thread(target=lambda: answers.append(ask(port)))
    slow.start()
    time.sleep(0.1)
    server_.handle_exit(signal.SIGTERM, None)
    assert ask(port, "/ready", None) == 503
    slow.join(10)
    thread.join(10)
    assert answers == [200]
    assert not thread.is_alive() and service.models["desk"].engine.closed
    with pytest.raises(OSError, match="refused"):
        ask(port)


def test_a_second_signal_ends_the_server_at_once(running):
    _, server_, _, _ = running
    server_.handle_exit(signal.SIGINT, None)
    assert not server_.should_exit
    server_.handle_exit(signal.SIGINT, None)
    assert server_.should_exit


def test_a_client_that_goes_away_in_the_middle_of_its_request_harms_nobody(running):
    port, _, _, _ = running
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
                           b"Content-Length: 1000\r\n\r\n{")  # fmt: skip
    assert ask(port) == 200


def test_a_connection_is_used_again_and_broken_http_is_refused(running):
    port, _, _, _ = running
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for _ in range(3):
        connection.request("POST", "/v1/predict", '{"texts": ["a"]}', {"Content-Type": "application/json"})
        assert json.loads(connection.getresponse().read())["version"] == "desk/1"
    with socket.create_connection(("127.0.0.1", port)) as broken:
        broken.sendall(b"\x00\x01 nonsense\r\n\r\n")
        assert b" 400 " in broken.recv(100)


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Broken, match=f"127.0.0.1 port {port} cannot be had"):
            server._listen("127.0.0.1", port)


def test_a_host_that_is_none_is_refused():
    with pytest.raises(WrongUse, match="no address of this machine"):
        server._listen("no.such.host.invalid", 8000)


def test_other_machines_are_let_in_only_where_there_is_an_api_key(tmp_path, monkeypatch):
    monkeypatch.setattr(api_keys.backend, "state", lambda: tmp_path)
    with pytest.raises(WrongUse, match="lets other machines ask, and there is no API key: `retune api-keys"):
        server.serve(["desk@champion"], "0.0.0.0", 8000, None, None)
