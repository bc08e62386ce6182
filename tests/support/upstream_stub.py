"""A server that speaks OpenAI's API, as vLLM does, and that can be told to be ill in many ways."""

import contextlib
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = ["The", " courier", " comes", " again", " today", "."]
LOGPROBS = [-0.1, -0.2, -0.05, -0.3, -0.15, -0.1]
HANGS = 20.0  # seconds: longer than any deadline of a test


class Upstream:
    """What it was asked, and what it says. fault: a function of the handler that answers in its own way, or None."""

    def __init__(self):
        self.bodies, self.heads, self.fault, self.faults_left = [], [], None, 10**9
        self.models = [{"id": "base", "root": "/models/base", "parent": None}]
        self.models.append({"id": "support", "root": "/elsewhere/adapter", "parent": "base"})
        self.may_end, self.client_left = threading.Event(), threading.Event()

    def ill(self, fault, times=10**9):
        self.fault, self.faults_left = fault, times


def choice(chat, words=WORDS, logprobs=LOGPROBS, piece=False, finish="stop"):
    text = "".join(words)
    if chat:
        words_of_it = {"delta" if piece else "message": {"role": "assistant", "content": text}}
        certainty = {"content": [{"token": word, "logprob": each} for word, each in zip(words, logprobs, strict=True)]}
    else:
        words_of_it, certainty = {"text": text}, {"token_logprobs": logprobs, "tokens": words}
    return {"index": 0, **words_of_it, "logprobs": certainty, "finish_reason": finish}


def completion(body, chat, **changes):
    usage = {"prompt_tokens": 7, "completion_tokens": len(WORDS), "total_tokens": 7 + len(WORDS)}
    kind = "chat.completion" if chat else "text_completion"
    return {"id": "x", "object": kind, "model": body["model"], "choices": [choice(chat)], "usage": usage, **changes}


def stream_events(body, chat):
    for number, (word, logprob) in enumerate(zip(WORDS, LOGPROBS, strict=True), 1):
        finish = "stop" if number == len(WORDS) else None
        piece = choice(chat, [word], [logprob], piece=True, finish=finish)
        yield {"id": "x", "model": body["model"], "choices": [piece]}
    yield {"id": "x", "model": body["model"], "choices": [], "usage": completion(body, chat)["usage"]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream: Upstream

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.serve(None)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.upstream.bodies.append(body)
        self.serve(body)

    def serve(self, body):
        self.body = body
        self.upstream.heads.append(dict(self.headers))
        fault = self.upstream.fault if self.upstream.faults_left > 0 else None
        with contextlib.suppress(OSError):  # the client has gone
            if fault:
                self.upstream.faults_left -= 1
                fault(self)
            elif body is None:
                self.send_json({"object": "list", "data": self.upstream.models})
            elif body.get("stream"):
                self.send_events(stream_events(body, self.chat))
            else:
                self.send_json(completion(body, self.chat))

    @property
    def chat(self):
        return self.path.endswith("/chat/completions")

    def send_json(self, document, status=200, headers=()):
        self.send_bytes(json.dumps(document).encode(), status, headers)

    def send_bytes(self, content, status=200, headers=(), kind="application/json"):
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(content))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def send_events(self, events, pause=0.0, ends=True):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            for event in events:
                self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
                self.wfile.flush()
                time.sleep(pause)
            if ends:
                self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            self.upstream.client_left.set()

    def cut(self):
        """Close the connection without a word."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def open_upstream():
    """The address of a running stub, up to and with /v1, and what it was asked."""
    upstream = Upstream()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"upstream": upstream}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", upstream
    finally:
        upstream.may_end.set()  # whoever hangs
        server.shutdown()
        server.server_close()


def dead(handler):
    handler.cut()


def hung(handler):
    handler.upstream.may_end.wait(HANGS)


def slow(handler):
    """A byte now and then, for longer than anybody waits."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    while not handler.upstream.may_end.wait(0.02):
        handler.wfile.write(b" ")


def half(handler):
    """Half of the answer that it promised, or of the stream that it began."""
    if handler.body.get("stream"):
        handler.send_events(list(stream_events(handler.body, handler.chat))[:2], ends=False)
        return
    content = json.dumps(completion(handler.body, handler.chat)).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])
    handler.cut()


def status(code, headers=()):
    return lambda handler: handler.send_json({"error": {"message": dict(handler.headers)}}, code, headers)


def says(content):
    return lambda handler: handler.send_bytes(content)


def answers(**changes):
    """The right answer, but for these fields: in one piece, or in each event of a stream."""

    def answer(handler):
        body = handler.body
        if body.get("stream"):
            handler.send_events([{**event, **changes} for event in stream_events(body, handler.chat)])
        else:
            handler.send_json(completion(body, handler.chat, **changes))

    return answer


def chooses(**changes):
    """The right answer, but for these fields of its choice."""

    def answer(handler):
        streams = bool(handler.body.get("stream"))
        changed = {**choice(handler.chat, piece=streams), **changes}
        event = completion(handler.body, handler.chat, choices=[changed])
        if streams:
            handler.send_events([event])
        else:
            handler.send_json(event)

    return answer


def certainty(value):
    """Log-probabilities of this value for each token, in the form of the route."""

    def answer(handler):
        changed = choice(handler.chat, logprobs=[value] * len(WORDS))["logprobs"]
        chooses(logprobs=changed)(handler)

    return answer
