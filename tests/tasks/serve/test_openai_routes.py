"""What a client of OpenAI's API sees of a version that writes."""

import asyncio
import json
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from retune.serving.answers import Overloaded, ServedVersion, TooLate, Unfit
from retune.serving.writing import Written, prompt_of
from tasks.serve.app import make_app

WORDS = ["The", " courier", " comes", "."]
HELLO = {"messages": [{"role": "user", "content": "hello"}]}


class FakeWriter:
    """Writes four words, one a turn of the loop. `raises` after `words` of them."""

    def __init__(self, served):
        self.served, self.prompts, self.raises, self.words = served, [], None, 4
        self.pause, self.cancelled, self.began = 0.0, False, asyncio.Event()

    async def answer(self, texts, deadline):
        prompts = [prompt_of(text) for text in texts]
        self.prompts += prompts
        try:
            return [await self.write(prompt) for prompt in prompts]
        except asyncio.CancelledError:
            self.cancelled = True
            raise

    async def write(self, prompt):
        for word in WORDS[: self.words]:
            await asyncio.sleep(self.pause)
            if prompt.on_piece:
                prompt.on_piece(self.served, word)
            self.began.set()
        if self.raises:
            raise self.raises
        text = "".join(WORDS[: self.words])
        return Written(text, 0.75, "auto", finish="stop", prompt_tokens=7, completion_tokens=4, cut_tokens=0)

    async def close(self):
        pass


@pytest.fixture
def service(make_service):
    """A model that writes, and one that labels."""
    service = make_service("writer", "desk")
    live = service.models["writer"]
    live.engine = FakeWriter(replace(live.served, writes=True))
    live.on_change()
    return service


@pytest.fixture
def writer(service):
    return service.models["writer"].engine


@pytest.fixture
def client(service):
    return TestClient(make_app(service), raise_server_exceptions=False)


def chat(client, **changes):
    return client.post("/v1/chat/completions", json={"model": "writer", **HELLO, **changes})


def events(response):
    """The documents of a stream, whose end is looked at."""
    assert response.headers["content-type"].startswith("text/event-stream")
    *lines, last = [line for line in response.text.split("\n\n") if line]
    assert last == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_a_whole_answer_has_openais_form_and_says_which_version_gave_it(client):
    response = chat(client)
    document = response.json()
    request_id = response.headers["x-request-id"]
    assert (document["object"], document["model"], document["id"]) == ("chat.completion", "writer/1", request_id)
    message = {"role": "assistant", "content": "".join(WORDS)}
    assert document["choices"] == [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]
    assert document["usage"] == {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}
    assert document["retune"] == {
        "request_id": request_id,
        "version": "writer/1",
        "seal": "seal of writer/1",
        "results": [{"confidence": 0.75, "route": "auto", "cut_prompt_tokens": 0}],
    }
    names = ("X-Retune-Version", "X-Retune-Seal", "X-Retune-Confidence", "X-Retune-Route")
    assert [response.headers[name] for name in names] == ["writer/1", "seal of writer/1", "0.75", "auto"]


def test_a_stream_gives_the_pieces_the_counts_and_the_same_words_of_its_version(client):
    response = chat(client, stream=True, stream_options={"include_usage": True})
    *pieces, last, counts = events(response)
    assert [piece["choices"][0]["delta"]["content"] for piece in pieces] == WORDS
    assert {piece["object"] for piece in (*pieces, last, counts)} == {"chat.completion.chunk"}
    assert {piece["choices"][0]["finish_reason"] for piece in pieces} == {None}
    assert last["choices"][0]["finish_reason"] == "stop" and last["choices"][0]["delta"] == {}
    assert last["retune"] == {**chat(client).json()["retune"], "request_id": response.headers["x-request-id"]}
    assert (counts["choices"], counts["usage"]["total_tokens"]) == ([], 11)
    assert response.headers["X-Retune-Version"] == "writer/1"


def test_an_answer_without_a_letter_streams_its_end(client, writer):
    writer.words = 0
    (last,) = events(chat(client, stream=True))
    assert last["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("stream", [False, True])
def test_prompts_are_answered_in_their_order(client, writer, stream):
    response = client.post("/v1/completions", json={"model": "writer", "prompt": ["a", "b"], "stream": stream})
    if stream:
        texts = ["", ""]
        for event in events(response):
            texts[event["choices"][0]["index"]] += event["choices"][0]["text"]
    else:
        texts = [choice["text"] for choice in response.json()["choices"]]
        assert response.json()["usage"]["total_tokens"] == 22
    assert texts == ["".join(WORDS)] * 2 and writer.prompts == ["a", "b"]


def test_a_conversation_reaches_the_version_as_a_row_stores_it(client, writer):
    parts = [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]
    messages = [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": parts}]
    chat(client, messages=messages, max_completion_tokens=5, stop="END", temperature=0, n=1, seed=3, user="me")
    (prompt,) = writer.prompts
    assert json.loads(prompt) == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hello"}]
    assert (prompt.max_tokens, prompt.stop) == (5, ("END",))


def test_every_answer_is_logged_with_its_prompt(client, service):
    chat(client)
    chat(client, stream=True)
    assert [row.label for row in service.log.rows] == ["".join(WORDS)] * 2
    assert {row.text for row in service.log.rows} == {json.dumps(HELLO["messages"], separators=(",", ":"))}


UNSUPPORTED = {
    "temperature": 0.7,
    "top_p": 0.9,
    "n": 2,
    "frequency_penalty": 1.0,
    "logprobs": True,
    "tools": [],
    "response_format": {"type": "json_object"},
    "logit_bias": {"5": 1},
    "stop": ["x"] * 17,
    "max_tokens": 0,
    "messages": [],
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_a_version_does_not_do_is_refused_in_openais_form(client, writer, name):
    response = chat(client, **{name: UNSUPPORTED[name]})
    error = response.json()["error"]
    assert response.status_code == 400 and not writer.prompts
    assert error["type"] == "invalid_request_error" and error["param"].startswith(name) and name in error["message"]
    assert error["request_id"] == response.headers["x-request-id"]


def test_a_body_that_is_no_json_is_the_fault_of_no_parameter(client):
    response = client.post("/v1/chat/completions", content=b"{", headers={"Content-Type": "application/json"})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "malformed", None)


@pytest.mark.parametrize("content", [[{"type": "image_url", "image_url": {"url": "x"}}], 3, None, []])
def test_a_message_that_is_no_text_is_refused(client, content):
    assert chat(client, messages=[{"role": "user", "content": content}]).status_code == 400


@pytest.mark.parametrize("name", ["writer", "writer@champion", "writer/1"])
def test_a_model_goes_by_each_of_its_names(client, name):
    assert chat(client, model=name).json()["model"] == "writer/1"


@pytest.mark.parametrize(("name", "reason"), [("gpt-5", "there is no model 'gpt-5'"), ("desk", "labels texts")])
def test_a_model_that_cannot_write_is_not_found(client, name, reason):
    response = chat(client, model=name)
    assert response.status_code == 404 and reason in response.json()["error"]["message"]
    assert response.json()["error"]["code"] == "model_not_found"


def test_what_is_served_is_listed(client):
    cards = client.get("/v1/models").json()["data"]
    assert [(card["id"], card["root"], card["retune"]["writes"]) for card in cards] == [
        ("writer", "writer/1", True),
        ("desk", "desk/1", False),
    ]


@pytest.mark.parametrize(
    ("error", "status"), [(Overloaded("full", 3), 503), (TooLate("late"), 504), (Unfit("no tools"), 422)]
)
@pytest.mark.parametrize("stream", [False, True])
def test_no_answer_is_an_error_with_its_status(client, writer, error, status, stream):
    writer.raises, writer.words = error, 0
    response = chat(client, stream=stream)
    fields = response.json()["error"]
    assert (response.status_code, fields["code"], fields["message"]) == (status, error.kind, str(error))
    assert fields["type"] == ("server_error" if status >= 500 else "invalid_request_error")
    assert response.headers.get("retry-after") == ("3" if status == 503 else None)


def test_an_answer_that_breaks_off_ends_its_stream_with_an_error(client, writer):
    writer.raises = TooLate("still writing")
    *_, last = chat(client, stream=True).text.strip().split("\n\n")
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "deadline"


def test_no_other_version_goes_on_with_half_an_answer(service, client, writer):
    async def falls_back(texts, subject, deadline, request_id=""):
        prompt = prompt_of(texts[0])
        prompt.on_piece(ServedVersion("writer", "2", "other", writes=True), "Half an")
        return await answer(texts, subject, deadline, request_id)

    answer, service.routers["writer"].answer = service.routers["writer"].answer, falls_back
    first, last = chat(client, stream=True).text.strip().split("\n\n")
    assert "Half an" in first and "broke off" in json.loads(last.removeprefix("data: "))["error"]["message"]


def test_a_text_model_answers_predict_with_its_text(client):
    response = client.post("/v1/predict", json={"texts": ["hello"], "model": "writer"})
    assert response.json()["results"] == [{"label": "".join(WORDS), "confidence": 0.75, "route": "auto"}]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_ends_the_writing(service, writer, stream):
    writer.pause = 0.02

    async def leave():
        app, content = make_app(service), json.dumps({"model": "writer", **HELLO, "stream": stream}).encode()
        parts = [{"type": "http.request", "body": content, "more_body": False}]

        async def receive():
            if parts:
                return parts.pop()
            await writer.began.wait()
            return {"type": "http.disconnect"}

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": "/v1/chat/completions", "raw_path": b"/v1/chat/completions", "query_string": b"", "root_path": "",
            "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
        }  # fmt: skip
        async with asyncio.timeout(10):
            await app(scope, receive, lambda _: asyncio.sleep(0))

    asyncio.run(leave())
    assert writer.cancelled


def test_a_key_is_asked_for_in_openais_form(make_service):
    response = chat(TestClient(make_app(make_service("writer", public=True))))
    assert response.status_code == 401 and response.json()["error"]["type"] == "authentication_error"
