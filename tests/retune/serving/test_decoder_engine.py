"""Against two-layer decoders: what is served is what evaluation would have scored."""

import asyncio
import shutil
import threading
from dataclasses import replace

import pytest

from retune.config.writing import ServeWriting
from retune.models import causal_lm
from retune.serving import decoder_engine
from retune.serving.answers import Overloaded, ServedVersion, TooLate, Unanswered, Unavailable, Unfit
from retune.serving.writing import Prompt, Written
from tests.support.written_versions import LONG, write_version

TEXTS = ["my card was charged", "the courier lost my box", "screen broken", "hello", "where is the door of the bank"]


SETTINGS = ServeWriting(batch_texts=8, queue_texts=100, deadline_seconds=30.0, upstreams=[])


@pytest.fixture(scope="module")
def folders(tiny_causal_lm, tmp_path_factory):
    """Model folders of two LoRA adapters of one base, and of others that cannot share its network."""
    return {
        name: write_version(tiny_causal_lm, tmp_path_factory.mktemp(name), method, seed)
        for seed, (name, method) in enumerate(
            {"support": "lora", "legal": "dora", "prompt": "prompt", "full": "full"}.items(), 1
        )
    }


@pytest.fixture
def engine():
    engine = decoder_engine.DecoderEngine(SETTINGS, "cpu")
    yield engine
    engine.close()


def load(engine, folders, name):
    return engine.load(ServedVersion(name, "1", "0" * 64), folders[name])


def alone(folder, texts=TEXTS):
    answers = causal_lm.load(folder, "cpu").predict(texts)
    return list(zip(answers.labels, answers.confidence.tolist(), strict=True))


def run(work, seconds=30.0):
    async def timed():
        return await work(asyncio.get_running_loop().time() + seconds)

    return asyncio.run(timed())


def pairs(answers):
    return [(answer.label, answer.confidence) for answer in answers]


def test_adapters_of_one_base_share_it_and_each_answers_as_it_does_alone(engine, folders):
    names = ["support", "legal", "prompt", "full"]
    writers = [load(engine, folders, name) for name in names]
    networks = [writer.model.network for writer in writers]
    assert networks[0] is networks[1] and len(set(map(id, networks))) == 3

    async def all_at_once(deadline):
        return await asyncio.gather(*(writer.answer([text], deadline) for text in TEXTS for writer in writers))

    answers = [answer for (answer,) in run(all_at_once)]
    expected = [alone(folders[name]) for name in names]
    assert len({label for labels in expected for label, _ in labels}) > len(TEXTS), "they must differ to be told apart"
    for number, name in enumerate(names):
        got = pairs(answers[number :: len(names)])
        assert [label for label, _ in got] == [label for label, _ in expected[number]], name
        assert [each for _, each in got] == pytest.approx([each for _, each in expected[number]], abs=1e-6), name


def test_a_version_that_goes_leaves_the_others_of_its_base_as_they_were(engine, folders):
    support, legal = load(engine, folders, "support"), load(engine, folders, "legal")
    engine.drop(support)
    assert [label for label, _ in pairs(run(lambda deadline: legal.answer(TEXTS, deadline)))] == [
        label for label, _ in alone(folders["legal"])
    ]
    again = load(engine, folders, "support")
    assert again.model.network is legal.model.network
    assert pairs(run(lambda deadline: again.answer(TEXTS[:1], deadline)))[0][0] == alone(folders["support"])[0][0]


async def pieces(writer, prompt, deadline):
    """The pieces of the answer to a prompt as they came, and last the whole."""
    parts = []
    prompt = Prompt(prompt, prompt.max_tokens, prompt.stop, lambda served, piece: parts.append((served, piece)))
    (whole,) = await writer.answer([prompt], deadline)
    assert {served for served, _ in parts} == {writer.served}
    return [*(piece for _, piece in parts), whole]


def test_the_pieces_of_a_stream_are_the_whole_text(engine, folders):
    writer = load(engine, folders, "support")
    (whole,) = run(lambda deadline: writer.answer([Prompt(TEXTS[0])], deadline))
    *parts, last = run(lambda deadline: pieces(writer, Prompt(TEXTS[0]), deadline))
    assert last == whole and "".join(parts) == whole.label
    assert len(parts) > 2, "it comes as it is written"


def test_an_answer_ends_at_its_limit_or_before_a_word_that_stops_it(engine, folders):
    writer = load(engine, folders, "support")
    (whole,) = run(lambda deadline: writer.answer([Prompt(TEXTS[0])], deadline))
    text = whole.label
    (short,) = run(lambda deadline: writer.answer([Prompt(TEXTS[0], max_tokens=3)], deadline))
    assert (short.finish, short.completion_tokens) == ("length", 3) and text.startswith(short.label)
    (bounded,) = run(lambda deadline: writer.answer([Prompt(TEXTS[0], max_tokens=10_000)], deadline))
    assert bounded == whole, "no version writes more than it has learned to"
    stop = text[len(text) // 2 :][:3]
    *parts, last = run(lambda deadline: pieces(writer, Prompt(TEXTS[0], stop=(stop,)), deadline))
    assert last.label == "".join(parts) == text[: text.index(stop)] and last.finish == "stop"


def test_a_prompt_that_is_too_long_says_how_much_of_it_was_not_read(engine, folders):
    writer = load(engine, folders, "support")
    (long,) = run(lambda deadline: writer.answer([Prompt("my card " * 200)], deadline))
    assert long.cut_tokens == long.prompt_tokens - (128 - LONG)
    assert long.label == alone(folders["support"], ["my card " * 200])[0][0]


def test_messages_that_the_template_does_not_take_are_refused_and_the_others_answered(engine, folders):
    writer = load(engine, folders, "support")
    writer.model.tokenizer.chat_template = (
        "{% for message in messages %}{% if message['role'] == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
        "{{ message['content'] }}{% endfor %}"
    )

    async def both(deadline):
        bad = writer.answer([Prompt('[{"role":"tool","content":"x"}]')], deadline)
        return await asyncio.gather(bad, writer.answer([Prompt("hello")], deadline), return_exceptions=True)

    refused, (written,) = run(both)
    assert isinstance(refused, Unfit) and "no tools" in str(refused)
    assert written.label


class Pace:
    """Lets the engine compute one step at a time."""

    def __init__(self, writer, monkeypatch):
        self.started, self.go, self.steps = threading.Event(), threading.Event(), 0
        generate = writer.model.generate

        def slow(prompts, limit, on_step):
            def on_each(tokens):
                self.started.set()
                assert self.go.wait(20)
                self.steps += 1
                return on_step(tokens)

            return generate(prompts, limit, on_each)

        monkeypatch.setattr(writer.model, "generate", slow)

    async def begin(self):
        await asyncio.to_thread(self.started.wait, 20)


def test_nobody_waits_past_the_deadline_and_what_is_late_ends(engine, folders, monkeypatch):
    writer = load(engine, folders, "support")
    pace = Pace(writer, monkeypatch)

    async def late(deadline):
        with pytest.raises(TooLate):
            await writer.answer([TEXTS[0]], asyncio.get_running_loop().time() + 0.05)
        pace.go.set()
        return await writer.answer([TEXTS[1]], deadline)

    assert run(late)
    assert pace.steps <= 1 + LONG, "the first answer ended at the step after its deadline"


def test_a_client_that_goes_away_ends_the_writing(engine, folders, monkeypatch):
    writer = load(engine, folders, "support")
    pace = Pace(writer, monkeypatch)

    async def gone(deadline):
        asking = asyncio.create_task(writer.answer([TEXTS[0]], deadline))
        await pace.begin()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        pace.go.set()
        first = asyncio.Event()
        reading = asyncio.create_task(writer.answer([Prompt(TEXTS[1], on_piece=lambda *_: first.set())], deadline))
        await first.wait()
        reading.cancel()
        return await writer.answer([TEXTS[2]], deadline)

    assert run(gone)
    assert pace.steps < 2 * LONG, "neither of the two was written to its end"


def test_a_full_queue_refuses_and_a_close_tells_those_who_wait(folders, monkeypatch):
    engine = decoder_engine.DecoderEngine(replace(SETTINGS, batch_texts=1, queue_texts=2), "cpu")
    writer = load(engine, folders, "support")
    pace = Pace(writer, monkeypatch)

    async def crowd(deadline):
        first = asyncio.create_task(writer.answer(TEXTS[:1], deadline))
        await pace.begin()
        others = asyncio.create_task(writer.answer(TEXTS[1:3], deadline))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="2 texts wait"):
            await writer.answer(TEXTS[3:4], deadline)
        threading.Timer(0.1, pace.go.set).start()
        await asyncio.to_thread(engine.close)
        return await asyncio.gather(first, others, return_exceptions=True)

    (answer,), error = run(crowd)
    assert answer.label and isinstance(error, Unavailable)
    with pytest.raises(Unavailable):
        run(lambda deadline: writer.answer(TEXTS[:1], deadline))


def test_a_crash_while_writing_is_told_and_the_next_request_is_answered(engine, folders, monkeypatch):
    writer = load(engine, folders, "support")
    with monkeypatch.context() as broken:
        broken.setattr(writer.model, "generate", lambda *_: 1 / 0)
        with pytest.raises(Unanswered, match="ZeroDivisionError"):
            run(lambda deadline: writer.answer(TEXTS[:1], deadline))
    (written,) = run(lambda deadline: writer.answer([Prompt(TEXTS[0])], deadline))
    assert isinstance(written, Written) and written.label


def test_a_broken_routing_file_refuses_the_version(engine, folders, tmp_path):
    folder = shutil.copytree(folders["support"], tmp_path / "model")
    (folder / "automation.json").write_text("{", "utf-8")
    with pytest.raises(decoder_engine.Refused, match="damaged"):
        engine.load(ServedVersion("support", "1", "0" * 64), folder)
