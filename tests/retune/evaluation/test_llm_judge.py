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


class JudgeServer:
    """What the server has seen, and what it is to answer: a function of the body, or a list of them, one a call."""

    def __init__(self):
        self.bodies, self.heads, self.answers, self.say = [], [], [], quality

    def answer(self, body):
        return self.answers.pop(0) if self.answers else (200, {}, completion(self.say(body)))


def completion(text):
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]})


def quality(body):
    """An honest judge: it likes `good`."""
    prompt = body["messages"][1]["content"]
    a, b = (prompt.split(f"<{side}>\n")[1].split(f"\n</{side}>")[0] for side in "AB")
    return "Not VERDICT: B. VERDICT: TIE" if a == b else f"I like it.\n**VERDICT: {'A' if a == 'good' else 'B'}**"


@pytest.fixture
def judge_server():
    judge = JudgeServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            judge.bodies.append((self.path, body))
            judge.heads.append(dict(self.headers))
            status, headers, text = judge.answer(body)
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
    judge.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield judge
    server.shutdown()
    server.server_close()


@pytest.fixture
def progress():
    return []


@pytest.fixture
def judge_settings(judge_server, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", KEY)
    return Judge(judge_server.url)


def ask(judge_settings, progress):
    with judge_endpoint.connect(judge_settings, progress.append) as it:
        return it([{"role": "user", "content": "?"}])


def test_a_pair_is_asked_in_both_orders_and_the_better_answer_wins_from_either_place(
    judge_server, judge_settings, progress
):
    with judge_endpoint.connect(judge_settings, progress.append) as it:
        table = llm_judge.judge_pairs(PAIRS, it, judge_settings.criterion)
    assert table["said"].tolist() == ["ours", "alike", "theirs"]
    summary = llm_judge.summary(table["said"].tolist())
    assert (summary.rows, summary.wins, summary.losses, summary.ties, summary.p) == (3, 1, 1, 1, 1.0)
    assert len(judge_server.bodies) == 6
    path, body = judge_server.bodies[0]
    assert path == "/v1/chat/completions" and body["model"] == "judge-1" and body["temperature"] == 0
    assert "which is politer" in body["messages"][1]["content"]
    assert {head["Authorization"] for head in judge_server.heads} == {f"Bearer {KEY}"}
    assert progress == []


def test_a_judge_that_likes_a_place_is_inconsistent_and_one_without_verdict_unclear(
    judge_server, judge_settings, progress
):
    judge_server.say = lambda body: "VERDICT: A"
    with judge_endpoint.connect(judge_settings, progress.append) as it:
        assert set(llm_judge.judge_pairs(PAIRS, it, "better")["said"]) == {llm_judge.INCONSISTENT}
        judge_server.say = lambda body: "Both have their merits."
        table = llm_judge.judge_pairs(PAIRS, it, "better")
    assert llm_judge.summary(table["said"].tolist()) == llm_judge.JudgeSummary(3, 0, 0, 0, 0, 3, 1.0)


def test_what_passes_is_asked_again(judge_server, judge_settings, progress):
    judge_server.answers = [(500, {}, "oops"), (429, {"Retry-After": "0"}, "slow down")]
    judge_server.say = lambda body: "VERDICT: B"
    assert ask(judge_settings, progress) == "VERDICT: B"
    assert len(judge_server.bodies) == 3 and "attempt 2 of 3" in progress[0]


def test_an_answer_that_does_not_come_in_time_is_waited_for_no_longer(judge_server, judge_settings, progress):
    judge_server.answers = [(None, {}, completion("late"))] * 2
    with pytest.raises(Broken, match="no answer in 2 attempts"):
        ask(replace(judge_settings, timeout_seconds=0.2, attempts=2), progress)


def test_nobody_there_is_broken(judge_settings, progress):
    with pytest.raises(Broken, match="Is http://127"):
        ask(replace(judge_settings, url="http://127.0.0.1:9/v1", attempts=1), progress)


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
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
    judge_server, judge_settings, progress, caplog, capsys, answer, kind, message
):
    caplog.set_level(0)
    judge_server.answers = [answer] * 3
    with pytest.raises(kind, match=message) as caught:
        ask(judge_settings, progress)
    assert isinstance(caught.value, RetuneError)
    output = "".join([str(caught.value), repr(caught.value), *progress, caplog.text, *capsys.readouterr()])
    assert KEY not in output


@pytest.mark.parametrize(
    "url", ["", "judge.example.com", "ftp://judge.example.com", f"https://u:{KEY}@judge.example.com"]
)
def test_an_address_that_cannot_be_is_refused_before_anything_is_sent(judge_settings, progress, url):
    with pytest.raises(WrongUse) as caught:
        ask(replace(judge_settings, url=url), progress)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("key", ["", "two words", "schlüssel", "a\nb"])
def test_a_key_that_cannot_be_is_refused_without_showing_it(judge_settings, progress, monkeypatch, key):
    monkeypatch.setenv("JUDGE_KEY", key)
    with pytest.raises(WrongUse, match="JUDGE_KEY") as caught:
        ask(judge_settings, progress)
    assert not key or key not in str(caught.value)


def test_without_a_key_none_is_sent(judge_server, judge_settings, progress):
    judge_server.say = lambda body: "VERDICT: TIE"
    ask(replace(judge_settings, key_env=None), progress)
    assert "Authorization" not in judge_server.heads[0]
