import asyncio
import threading

import numpy as np
import pytest
import yaml

from retune.config import params
from retune.config.serving import Serve
from retune.models import classifier, routing
from retune.serving.answers import BadAnswer, Overloaded, ServedVersion, TooLate, Unanswered, Unavailable
from retune.serving.encoder_engine import EncoderEngine
from tests.support.environment import ROOT

SHIPPED = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))["serve"]
RULE = routing.Routing(0.5, {}, "test")


@pytest.fixture(scope="module")
def model(model_folder):
    return classifier.load(model_folder, "cpu")


@pytest.fixture
def make_engine(model):
    engines = []

    def make(**changes):
        served = ServedVersion("desk", "1", "seal")
        engines.append(
            EncoderEngine(served, model, RULE, params.parse_section(Serve, {**SHIPPED, "wait_ms": 0.0, **changes}))
        )
        return engines[-1]

    yield make
    for engine in engines:
        asyncio.run(asyncio.wait_for(engine.close(), 10))


def ask(engine, *requests, seconds=10.0):
    """The answers to several requests at once; an error stands in the place of its answer."""

    async def gather():
        deadline = asyncio.get_running_loop().time() + seconds
        return await asyncio.gather(*(engine.answer(texts, deadline) for texts in requests), return_exceptions=True)

    return asyncio.run(gather())


def test_each_text_gets_the_answer_of_the_model_in_its_place(make_engine, model, make_tickets):
    texts = [*make_tickets(40)["text"], "hello", ""]
    expected = model.predict(texts, batch_size=1)
    requests = [texts[:1], texts[1:20], texts[20:]]
    answers = [answer for request in ask(make_engine(batch_tokens=64), *requests) for answer in request]
    assert [answer.label for answer in answers] == expected.labels
    assert np.abs(np.array([answer.confidence for answer in answers]) - expected.confidence).max() < 1e-6
    assert [answer.route for answer in answers] == RULE.routes(expected.labels, expected.confidence)
    assert {len(answer.vector) for answer in answers} == {32}


def test_texts_of_several_requests_are_read_together(make_engine):
    engine = make_engine(wait_ms=200.0)
    ask(engine, *[[f"invoice {'paid ' * number}"] for number in range(6)])
    assert (engine.counts.texts, engine.counts.batches, engine.waiting) == (6, 1, 0)


def test_a_text_that_comes_again_is_not_read_again(make_engine):
    engine = make_engine()
    first = ask(engine, ["invoice paid", "lost parcel"])[0]
    assert ask(engine, ["lost parcel", "invoice paid"])[0] == first[::-1]
    assert (engine.counts.texts, engine.cache.hits, engine.cache.misses) == (2, 2, 2)


def test_only_texts_of_the_same_tokens_share_an_answer(make_engine):
    engine = make_engine()
    plain, spaced, other = (ask(engine, [text])[0][0] for text in ("invoice paid", " INVOICE  paid ", "invoice"))
    assert plain == spaced != other
    assert engine.counts.texts == 2
    ask(engine, ["hello [SEP]"], ["hello [sep]"])  # equal once normalised, yet a token of its own only in the first
    assert engine.counts.texts == 4


def test_without_a_cache_every_text_is_read(make_engine):
    engine = make_engine(cache_texts=0)
    ask(engine, ["invoice paid"])
    ask(engine, ["invoice paid"])
    assert engine.counts.texts == 2


class Blocker:
    """A tokenizer that answers once it is let go."""

    pad_token_id = 0

    def __init__(self, tokenizer):
        self._tokenizer, self.go = tokenizer, threading.Event()

    def __call__(self, *args, **kwargs):
        self.go.wait(10)
        return self._tokenizer(*args, **kwargs)


@pytest.fixture
def blocker(model, monkeypatch):
    blocker = Blocker(model.tokenizer)
    monkeypatch.setattr(model, "tokenizer", blocker)
    yield blocker
    blocker.go.set()


def test_a_full_queue_refuses_further_requests_and_says_when_to_come_again(make_engine, blocker):
    engine = make_engine(queue_texts=3)

    async def story():
        deadline = asyncio.get_running_loop().time() + 10
        waiting = [asyncio.create_task(engine.answer(["invoice"] * 2, deadline))]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="2 texts wait for desk/1") as refusal:
            await engine.answer(["paid", "paid"], deadline)
        assert refusal.value.retry_after >= 1
        waiting.append(asyncio.create_task(engine.answer(["paid"], deadline)))
        await asyncio.sleep(0)
        blocker.go.set()
        return [len(answers) for answers in await asyncio.gather(*waiting)]

    assert asyncio.run(story()) == [2, 1]
    assert engine.waiting == 0


def test_a_request_larger_than_the_queue_is_taken_by_an_idle_engine(make_engine):
    assert len(ask(make_engine(queue_texts=1), ["invoice", "paid", "screen"])[0]) == 3


def test_a_request_that_is_too_late_is_told_so_and_no_longer_read(make_engine, blocker):
    engine = make_engine()
    (error,) = ask(engine, ["invoice"], seconds=0.02)
    assert isinstance(error, TooLate)
    blocker.go.set()
    assert len(ask(engine, ["paid"])[0]) == 1
    assert (engine.counts.texts, engine.waiting) == (1, 0)


def test_a_closed_engine_answers_what_waits_and_takes_nothing_more(make_engine, blocker):
    engine = make_engine()

    async def story():
        deadline = asyncio.get_running_loop().time() + 10
        waiting = asyncio.create_task(engine.answer(["invoice"], deadline))
        await asyncio.sleep(0)
        closing = asyncio.create_task(engine.close())
        await asyncio.sleep(0.01)
        with pytest.raises(Unavailable):
            await engine.answer(["paid"], deadline)
        blocker.go.set()
        await closing
        return await waiting

    assert len(asyncio.run(story())) == 1
    assert not engine._worker.is_alive()


def test_a_model_that_gives_no_number_is_a_bad_answer_and_the_engine_goes_on(make_engine, model, monkeypatch):
    engine = make_engine()
    with monkeypatch.context() as broken:
        broken.setattr(model.head.weight, "data", model.head.weight.data * float("nan"))
        (error,) = ask(engine, ["invoice"])
    assert isinstance(error, BadAnswer)
    assert len(ask(engine, ["invoice"])[0]) == 1


def test_an_error_of_the_tokenizer_reaches_the_caller_and_the_engine_goes_on(make_engine, model, monkeypatch, caplog):
    engine = make_engine()
    with monkeypatch.context() as broken:
        broken.setattr(classifier, "tokenize", lambda *_: 1 / 0)
        (error,) = ask(engine, ["invoice", "paid"])
    assert type(error) is Unanswered and "log of the server" in str(error)
    assert "ZeroDivisionError" in caplog.text
    assert len(ask(engine, ["invoice"])[0]) == 1
    assert engine.waiting == 0
