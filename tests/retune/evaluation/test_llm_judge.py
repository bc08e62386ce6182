"""Against a real HTTP server on this machine."""

import json
import threading
import time
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest

from retune.errors import Broken, Refused, RetuneError, WrongUse
from retune.evaluation import judge_endpoint, llm_judge

KEY = "sk-very-secret-0451"
PAIRS = pd.DataFrame(
    {
        "id": ["a", "b", "c"],
        "prompt": ["1", "2", "3"],
        "ours": ["good", "same", "bad"],
        "theirs": ["bad", "same", "good"],
    }
)


@dataclass(frozen=True)
class Judge:
    url: str
    model: str = "judge-1"
    key_env: str | None = "JUDGE_KEY"
    criterion: str = "which is politer"
    timeout_seconds: float = 2.0
    attempts: int = 3
    pause_seconds: float = 0.01


class Desk:
    """What the server has seen, and what it is to answer: a function of the body, or a list of them, one a call."""

    def __init__(self):
        self.asked, self.heads, self.answers, self.say = [], [], [], quality

    def answer(self, body):
        return self.answers.pop(0) if self.answers else (200, {}, completion(self.say(body)))


def completion(text):
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]})


def quality(body):
    """An honest judge: it likes `good`."""
    asked = body["messages"][1]["content"]
    a, b = (asked.split(f"<{side}>\n")[1].split(f"\n</{side}>")[0] for side in "AB")
    return "Not VERDICT: B. VERDICT: TIE" if a == b else f"I like it.\n**VERDICT: {'A' if a == 'good' else 'B'}**"


@pytest.fixture
def desk():
    desk = Desk()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            desk.asked.append((self.path, body))
            desk.heads.append(dict(self.headers))
            status, headers, text = desk.answer(body)
            if status is None:  # longer than anyone waits
                time.sleep(0.6)
                status = 200
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(text.encode()))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    desk.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield desk
    server.shutdown()
    server.server_close()


@pytest.fixture
def said():
    return []


@pytest.fixture
def settings(desk, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", KEY)
    return Judge(desk.url)


def ask(settings, said):
    with judge_endpoint.connect(settings, said.append) as it:
        return it([{"role": "user", "content": "?"}])


def test_a_pair_is_asked_in_both_orders_and_the_better_answer_wins_from_either_place(desk, settings, said):
    with judge_endpoint.connect(settings, said.append) as it:
        table = llm_judge.judge_pairs(PAIRS, it, settings.criterion)
    assert table["said"].tolist() == ["ours", "alike", "theirs"]
    told = llm_judge.summary(table["said"].tolist())
    assert (told.rows, told.wins, told.losses, told.ties, told.p) == (3, 1, 1, 1, 1.0)
    assert len(desk.asked) == 6
    path, body = desk.asked[0]
    assert path == "/v1/chat/completions" and body["model"] == "judge-1" and body["temperature"] == 0
    assert "which is politer" in body["messages"][1]["content"]
    assert {head["Authorization"] for head in desk.heads} == {f"Bearer {KEY}"}
    assert said == []


def test_a_judge_that_likes_a_place_is_inconsistent_and_one_without_verdict_unclear(desk, settings, said):
    desk.say = lambda body: "VERDICT: A"
    with judge_endpoint.connect(settings, said.append) as it:
        assert set(llm_judge.judge_pairs(PAIRS, it, "better")["said"]) == {llm_judge.INCONSISTENT}
        desk.say = lambda body: "Both have their merits."
        table = llm_judge.judge_pairs(PAIRS, it, "better")
    assert llm_judge.summary(table["said"].tolist()) == llm_judge.JudgeSummary(3, 0, 0, 0, 0, 3, 1.0)


def test_what_passes_is_asked_again(desk, settings, said):
    desk.answers = [(500, {}, "oops"), (429, {"Retry-After": "0"}, "slow down")]
    desk.say = lambda body: "VERDICT: B"
    assert ask(settings, said) == "VERDICT: B"
    assert len(desk.asked) == 3 and "attempt 2 of 3" in said[0]


def test_an_answer_that_does_not_come_in_time_is_waited_for_no_longer(desk, settings, said):
    desk.answers = [(None, {}, completion("late"))] * 2
    with pytest.raises(Broken, match="no answer in 2 attempts"):
        ask(replace(settings, timeout_seconds=0.2, attempts=2), said)


def test_nobody_there_is_broken(settings, said):
    with pytest.raises(Broken, match="Is http://127"):
        ask(replace(settings, url="http://127.0.0.1:9/v1", attempts=1), said)


@pytest.mark.parametrize(
    ("answer", "kind", "told"),
    [
        ((401, {}, f"Incorrect API key provided: {KEY}"), Refused, "the judge's key is wrong"),
        ((404, {}, f"no model for {KEY}"), Refused, "fix the judge's url or model"),
        ((307, {"Location": "http://127.0.0.1:9/"}, ""), Refused, "must not travel"),
        ((200, {}, f"<html>{KEY}</html>"), Broken, "something other"),
        ((200, {}, '{"choices": []}'), Broken, "something other"),
        ((503, {}, KEY), Broken, "in 3 attempts"),
    ],
)
def test_every_other_answer_is_told_in_words_and_never_with_the_key(
    desk, settings, said, caplog, capsys, answer, kind, told
):
    caplog.set_level(0)
    desk.answers = [answer] * 3
    with pytest.raises(kind, match=told) as caught:
        ask(settings, said)
    assert isinstance(caught.value, RetuneError)
    shown = "".join([str(caught.value), repr(caught.value), *said, caplog.text, *capsys.readouterr()])
    assert KEY not in shown


@pytest.mark.parametrize(
    "url", ["", "judge.example.com", "ftp://judge.example.com", f"https://u:{KEY}@judge.example.com"]
)
def test_an_address_that_cannot_be_is_refused_before_anything_is_sent(settings, said, url):
    with pytest.raises(WrongUse) as caught:
        ask(replace(settings, url=url), said)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("key", ["", "two words", "schlüssel", "a\nb"])
def test_a_key_that_cannot_be_is_refused_without_showing_it(settings, said, monkeypatch, key):
    monkeypatch.setenv("JUDGE_KEY", key)
    with pytest.raises(WrongUse, match="JUDGE_KEY") as caught:
        ask(settings, said)
    assert not key or key not in str(caught.value)


def test_without_a_key_none_is_sent(desk, settings, said):
    desk.say = lambda body: "VERDICT: TIE"
    ask(replace(settings, key_env=None), said)
    assert "Authorization" not in desk.heads[0]
