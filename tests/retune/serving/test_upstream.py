"""Against a real HTTP server on this machine, well and ill."""

import asyncio
import json
import math
import shutil
import time
from dataclasses import replace

import pytest

from retune.config.writing import UpstreamServer
from retune.errors import WrongUse
from retune.models import causal_lm, chat_template
from retune.serving import upstream_client
from retune.serving.answers import (
    BadAnswer,
    Overloaded,
    ServedVersion,
    TooLate,
    Unanswered,
    Unavailable,
    Unfit,
)
from retune.serving.upstream import UpstreamWriter
from retune.serving.upstream_client import UpstreamClient
from retune.serving.writing import Prompt, Written
from tests.support import upstream_stub as stub

KEY = "sk-very-secret-0451"
TEXT = "where is my box"
REPLY = "".join(stub.WORDS)
CONFIDENCE = math.exp(sum(stub.LOGPROBS) / len(stub.LOGPROBS))
ROUTING = {"threshold": 0.5, "labels": {}, "reason": "a test"}


@pytest.fixture(scope="module")
def folder(tiny_causal_lm, tmp_path_factory):
    """A model folder as far as a server of another machine needs it: manifest, tokenizer, thresholds, weights."""
    folder = tmp_path_factory.mktemp("version")
    tokenizer = chat_template.load(tiny_causal_lm)
    chat_template.choose(tokenizer, "chatml")
    tokenizer.save_pretrained(folder / "tokenizer")
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
    manifest = {"task": "instruct", "method": "lora", "base_name": "folder:/x", "base_sha256": "0" * 64}
    manifest |= {"max_tokens": 64, "max_new_tokens": 16, "template": "chatml"}
    (folder / "model.json").write_text(json.dumps(manifest), "utf-8")
    (folder / "automation.json").write_text(json.dumps(ROUTING), "utf-8")
    return folder


@pytest.fixture
def server():
    with stub.open_upstream() as address_and_upstream:
        yield address_and_upstream


def config(address, **changes):
    settings = UpstreamServer(
        url=address,
        models={"support": "writer@champion"},
        prompts="tokens",
        key_env=None,
        connect_seconds=1.0,
        attempts=2,
        requests=8,
    )
    return replace(settings, **changes)


def ask(folder, settings, work, seconds=5.0):
    """What `work` gives of a writer, and the seconds that it took."""

    async def run():
        client = UpstreamClient(settings)
        writer = UpstreamWriter(ServedVersion("writer", "3", "0" * 64), folder, client, "support", settings.prompts)
        try:
            return await work(writer, asyncio.get_running_loop().time() + seconds)
        finally:
            await client.close()

    return asyncio.run(run())


async def write(writer, deadline):
    return (await writer.answer([TEXT], deadline))[0]


async def stream(writer, deadline):
    pieces = []
    prompt = Prompt(TEXT, on_piece=lambda served, piece: pieces.append((served, piece)))
    (whole,) = await writer.answer([prompt], deadline)
    assert {served for served, _ in pieces} <= {writer.served}
    return [*(piece for _, piece in pieces), whole]


@pytest.mark.parametrize("prompts", ["tokens", "messages"])
def test_an_answer_has_the_confidence_of_its_tokens_and_the_route_of_the_version(folder, server, prompts):
    address, upstream = server
    written = ask(folder, config(address, prompts=prompts), write)
    assert (written.label, written.route, written.finish) == (REPLY, "auto", "stop")
    assert written.confidence == pytest.approx(CONFIDENCE)
    assert (written.prompt_tokens, written.completion_tokens) == (7, len(stub.WORDS))
    (body,) = upstream.bodies
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("support", 0, 16)


@pytest.mark.parametrize("prompts", ["tokens", "messages"])
def test_a_stream_gives_the_pieces_and_then_the_same_whole(folder, server, prompts):
    settings = config(server[0], prompts=prompts)
    *pieces, last = ask(folder, settings, stream)
    assert pieces == stub.WORDS
    assert last == ask(folder, settings, write)


def test_a_prompt_is_sent_as_the_version_reads_it(folder, server):
    address, upstream = server
    tokenizer = chat_template.load(folder / "tokenizer")

    async def both(writer, deadline):
        return await writer.answer([Prompt(TEXT, max_tokens=5, stop=("END",)), "my " * 99], deadline)

    short, long = ask(folder, config(address), both)
    first, second = sorted(upstream.bodies, key=lambda body: len(body["prompt"]))
    assert first["prompt"] == causal_lm.encode(tokenizer, TEXT)
    assert (first["max_tokens"], first["stop"]) == (5, ["END"])
    whole = causal_lm.encode(tokenizer, "my " * 99)
    assert second["prompt"] == whole[-48:], "the end, as in training"
    assert (short.cut_tokens, long.cut_tokens) == (0, len(whole) - 48)


def test_messages_go_to_a_server_that_renders_them_itself(folder, server):
    address, upstream = server
    conversation = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hello"}]

    async def work(writer, deadline):
        return await writer.answer([json.dumps(conversation), "hello"], deadline)

    ask(folder, config(address, prompts="messages"), work)
    assert sorted(len(body["messages"]) for body in upstream.bodies) == [1, 2]
    assert conversation in [body["messages"] for body in upstream.bodies]


@pytest.mark.parametrize("work", [write, stream])
def test_without_log_probabilities_a_person_reads_it(folder, server, work):
    address, upstream = server
    upstream.ill(stub.chooses(logprobs=None))
    result = ask(folder, config(address), work)
    written = result[-1] if isinstance(result, list) else result
    assert (written.label, written.confidence, written.route) == (REPLY, 0.0, "human")


FAULTS = {
    "dead": (stub.dead, Unavailable),
    "hung": (stub.hung, TooLate),
    "slow": (stub.slow, TooLate),
    "half": (stub.half, BadAnswer),
    "500": (stub.status(500), Unavailable),
    "502": (stub.status(502), Unavailable),
    "503": (stub.status(503, [("Retry-After", "0")]), Overloaded),
    "429": (stub.status(429, [("Retry-After", "3")]), Overloaded),
    "401": (stub.status(401), Unavailable),
    "404": (stub.status(404), Unavailable),
    "400": (stub.status(400), BadAnswer),
    "302": (stub.status(302, [("Location", "http://example.com")]), Unavailable),
    "no JSON": (stub.says(b"<html>login</html>"), BadAnswer),
    "deep JSON": (stub.says(b"[" * 100_000), BadAnswer),
    "not UTF-8": (stub.says(b"\xff\xfe"), BadAnswer),
    "another document": (stub.says(b'["a"]'), BadAnswer),
    "empty": (stub.says(b""), BadAnswer),
    "no choices": (stub.answers(choices=[]), BadAnswer),
    "two choices": (stub.answers(choices=[stub.choice(False)] * 2), BadAnswer),
    "choices of another kind": (stub.answers(choices=[3]), BadAnswer),
    "another model": (stub.answers(model="base"), BadAnswer),
    "a number for a text": (stub.chooses(text=7, message={"content": 7}, delta={"content": 7}), BadAnswer),
    "half a letter": (stub.chooses(text="\ud800"), BadAnswer),
    "filtered": (stub.chooses(finish_reason="content_filter"), BadAnswer),
    "no end": (stub.chooses(finish_reason=None), BadAnswer),
    "an end of another kind": (stub.chooses(finish_reason=["stop"]), BadAnswer),
    "NaN": (stub.certainty(float("nan")), BadAnswer),
    "infinite": (stub.certainty(float("inf")), BadAnswer),
    "null": (stub.certainty(None), BadAnswer),
    "a probability above 1": (stub.certainty(0.5), BadAnswer),
    "a number that no float holds": (stub.certainty(10**400), BadAnswer),
    "log-probabilities of another form": (stub.chooses(logprobs=[1]), BadAnswer),
    "counts that are none": (stub.answers(usage={"prompt_tokens": -1, "completion_tokens": True}), BadAnswer),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("work", [write, stream])
def test_an_ill_server_ends_in_a_typed_error_by_the_deadline(folder, server, monkeypatch, name, work):
    monkeypatch.setattr(upstream_client, "PAUSE", 0.001)
    monkeypatch.setenv("UPSTREAM_KEY", KEY)
    address, upstream = server
    fault, expected = FAULTS[name]
    upstream.ill(fault)
    seconds = 0.15 if expected is TooLate else 20.0
    begin = time.monotonic()
    with pytest.raises(Unanswered) as error:
        ask(folder, config(address, key_env="UPSTREAM_KEY"), work, seconds)
    assert type(error.value) is expected, error.value
    assert time.monotonic() - begin < seconds + 5.0
    assert KEY not in str(error.value)
    assert upstream.heads[-1]["Authorization"] == f"Bearer {KEY}"


def test_a_server_that_is_not_there_is_told_so(folder, port):
    with pytest.raises(Unavailable, match="is not there"):
        ask(folder, config(f"http://127.0.0.1:{port}/v1"), write)


def test_an_answer_that_never_ends_is_given_up(folder, server, monkeypatch):
    monkeypatch.setattr(upstream_client, "LARGEST", 10_000)
    monkeypatch.setattr(upstream_client, "LONGEST_LINE", 10_000)
    server[1].ill(stub.says(b" " * 20_000))
    for work in (write, stream):
        with pytest.raises(BadAnswer, match="more than 10000 bytes"):
            ask(folder, config(server[0]), work)


@pytest.mark.parametrize(
    ("fault", "attempts"), [(stub.dead, 2), (stub.status(503), 2), (stub.status(500), 1), (stub.half, 1)]
)
def test_only_what_brought_nothing_back_is_asked_again(folder, server, monkeypatch, fault, attempts):
    monkeypatch.setattr(upstream_client, "PAUSE", 0.001)
    address, upstream = server
    upstream.ill(fault, times=1)
    if attempts == 2:
        assert isinstance(ask(folder, config(address), write), Written)
    else:
        with pytest.raises(Unanswered):
            ask(folder, config(address), write)
    assert len(upstream.bodies) == attempts


def test_it_is_not_asked_again_where_the_deadline_leaves_no_time(folder, server):
    address, upstream = server
    upstream.ill(stub.status(503, [("Retry-After", "5")]))
    begin = time.monotonic()
    with pytest.raises(Overloaded) as error:
        ask(folder, config(address), write, seconds=2.0)
    assert error.value.retry_after == 5 and time.monotonic() - begin < 1.0
    assert len(upstream.bodies) == 1


def test_more_requests_than_may_be_under_way_are_refused(folder, server):
    address, upstream = server
    upstream.ill(stub.hung, times=1)

    async def crowd(writer, deadline):
        first = asyncio.create_task(write(writer, deadline))
        while not upstream.bodies:
            await asyncio.sleep(0.001)
        with pytest.raises(Overloaded, match="under way"):
            await write(writer, deadline)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        return await write(writer, deadline)

    assert ask(folder, config(address, requests=1), crowd).label == REPLY


def test_a_client_that_leaves_a_stream_ends_it_at_the_server(folder, server):
    address, upstream = server
    upstream.ill(lambda handler: handler.send_events(list(stub.stream_events(handler.body, False)) * 500, pause=0.002))

    async def leave(writer, deadline):
        first = asyncio.Event()
        reading = asyncio.create_task(writer.answer([Prompt(TEXT, on_piece=lambda *_: first.set())], deadline))
        await first.wait()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

    ask(folder, config(address), leave)
    assert upstream.client_left.wait(5)


def test_messages_that_the_template_does_not_take_are_the_clients_fault(folder, server, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "version")
    template = copy / "tokenizer" / "chat_template.jinja"
    template.write_text("{{ raise_exception('no system') }}", "utf-8")
    with pytest.raises(Unfit, match="no system"):
        ask(copy, config(server[0]), write)


async def check(writer, deadline):
    return await writer.check(deadline)


def test_what_a_server_lists_is_compared_with_the_version(folder, server):
    address, upstream = server
    card = upstream.models[1]
    assert "not compared" in ask(folder, config(address), check).evidence
    card["root"] = str(folder / "adapter")
    assert "are the version's" in ask(folder, config(address), check).evidence
    card["parent"] = None
    assert "bare base" in ask(folder, config(address), check).problem
    del card["parent"]  # a server that says no more than OpenAI's
    assert ask(folder, config(address), check).problem == ""
    card["id"] = "legal"
    assert "serves no model 'support'; those it lists: base, legal" in ask(folder, config(address), check).problem


def test_weights_of_another_version_are_noticed(folder, server, tmp_path):
    (tmp_path / "adapter_model.safetensors").write_bytes(b"other weights")
    server[1].models[1]["root"] = str(tmp_path)
    assert "is not that file of the version" in ask(folder, config(server[0]), check).problem


@pytest.mark.parametrize("fault", [stub.says(b"[1]"), stub.says(b'{"data": [3]}'), stub.status(500), stub.hung])
def test_a_server_that_does_not_say_what_it_serves_is_a_problem_and_no_crash(folder, server, fault):
    server[1].ill(fault)
    assert ask(folder, config(server[0]), check, seconds=0.15).problem


@pytest.mark.parametrize("value", ["", "two words", "tab\tbed"])
def test_a_key_that_is_missing_or_no_key_is_refused_without_showing_it(monkeypatch, value):
    monkeypatch.setenv("UPSTREAM_KEY", value)
    with pytest.raises(WrongUse, match="UPSTREAM_KEY") as error:
        UpstreamClient(config("http://127.0.0.1:1/v1", key_env="UPSTREAM_KEY"))
    assert not value or value not in str(error.value)
