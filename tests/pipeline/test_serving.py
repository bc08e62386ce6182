"""From champion to production and back: one story with real processes, told in their order.

A champion is served; days of another kind come; the monitor sees it; people correct answers; reviewers accept what they
say; a new version learns from it, is rolled out beside the champion, and takes over.
"""

import csv
import io
import json
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import closing
from itertools import cycle
from pathlib import Path

import pandas as pd
import pytest

from tests.support.classifier_runs import QUEUES, SMALL

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

DAY = 86400
NEW_QUEUE = "technical_faults"
ROLLOUT = {"min_requests": 50, "min_minutes": 0.0, "look_seconds": 1.0, "negligible_error_rate": 0.05}
# Of sixty test rows, any row is a lot.
LENIENT = {"max_label_recall_loss": 1.0, "max_slice_loss": 1.0, "calibration_error_rise": 1.0, "latency_ratio": 10.0}


class Desk:
    """A clone, its server, and the sample's tickets."""

    def __init__(self, clone):
        self.clone, self.server = clone, None
        path = clone.folder / "tests/samples/tickets.csv"
        tickets = pd.read_csv(path, dtype="str", keep_default_na=False).drop_duplicates("body")
        tickets = tickets[tickets["body"].str.len() < 5000]  # one is longer than a server takes
        self.usual = tickets[tickets["queue"].isin(QUEUES)]
        self.new = tickets[tickets["queue"] == NEW_QUEUE]
        self.queue_of = dict(zip(tickets["body"], tickets["queue"], strict=True))

    def retune(self, *words, code=0, **options):
        process = self.clone.retune(*words, **options)
        assert process.returncode == code, process.stdout + process.stderr
        return json.loads(process.stdout) if "--json" in words else process.stdout

    def post(self, path, content):
        """The answer, or the kind of the error."""
        body = json.dumps(content).encode()
        request = urllib.request.Request(self.address + path, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def ready(self):
        with urllib.request.urlopen(f"{self.address}/ready", timeout=10) as response:
            return json.load(response)

    def ask(self, texts):
        """One request a text; the answers in their order."""
        answers = [self.post("/v1/predict", {"texts": [text], "subject": f"c{n}"}) for n, text in enumerate(texts)]
        assert [answer for answer in answers if "error" in answer] == []
        return answers

    def age(self, seconds):
        """What was served in the last hour was served so long ago."""
        time.sleep(2)  # until the log is written
        with closing(sqlite3.connect(self.clone.folder / ".retune/serving.db", timeout=30)) as store, store:
            store.execute("UPDATE answers SET time = time - ? WHERE time > ?", (seconds, time.time() - 3600))


@pytest.fixture(scope="module")
def desk(new_clone, prefect_url, tmp_path_factory):
    clone = new_clone(tmp_path_factory.mktemp("desk"), PREFECT_API_URL=prefect_url)
    desk = Desk(clone)
    desk.usual.groupby("queue").head(65).to_csv(clone.folder / "first.csv", index=False)
    columns = ("--text", "body", "--label", "queue", "--id", "ticket_id", "--group", "customer_id")
    desk.retune("ingest", "first.csv", *columns)
    settings = [word for key, value in SMALL.items() for word in ("-S", f"{key}={value}")]
    settings += [word for key, value in ROLLOUT.items() for word in ("-S", f"rollout.{key}={value}")]
    desk.retune("run", *settings, timeout=600)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    desk.address = f"http://127.0.0.1:{port}"
    words = [sys.executable, "-m", "flows.cli", "serve", "--port", str(port)]
    desk.server = subprocess.Popen(
        words, cwd=clone.folder, env=clone.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    line = desk.server.stdout.readline()
    assert "classifier/1 (classifier@champion) answers at" in line, line + desk.server.stdout.read()
    yield desk
    desk.server.send_signal(signal.SIGTERM)
    desk.server.communicate(timeout=15)


def test_the_champion_answers_and_each_request_leads_to_what_made_it(desk):
    answers = desk.ask(desk.usual["body"].tail(300))
    assert {answer["version"] for answer in answers} == {"classifier/1"}
    desk.age(9.2 * DAY)
    (part,) = desk.retune("lineage", "request", answers[0]["request_id"], "--json")["served"]
    assert part["version"] == "classifier/1" and part["seal"] == answers[0]["seal"]
    assert part["origin"]["data"]["train"] and part["origin"]["evidence"]


def test_two_days_of_another_kind_are_an_alarm(desk):
    texts = desk.new["body"].head(300).tolist()
    desk.answers = {}
    for number, days in enumerate((2, 1)):
        part = texts[150 * number : 150 * (number + 1)]
        desk.answers |= dict(zip(part, desk.ask(part), strict=True))
        desk.age(days * DAY)
    verdict = desk.retune("monitor", "--json", code=1)
    assert "drift" in json.dumps(verdict)
    page = desk.clone.folder / "monitor.html"
    desk.retune("monitor", "--html", str(page), code=1)
    assert "classifier/1" in page.read_text("utf-8")


def test_people_correct_answers_and_reviewers_accept_some(desk):
    for number, (text, answer) in enumerate(list(desk.answers.items())[:120]):
        words = {"request_id": answer["request_id"], "label": desk.queue_of[text], "who": f"agent {number % 4}"}
        assert desk.post("/v1/feedback", words)["status"] == "quarantined"
    sheet_facts = desk.retune("review", "feedback", "export", "--rows", "200", "--json")
    sheet = next(Path(path) for path in sheet_facts["files"] if path.endswith(".csv"))
    rows = list(csv.DictReader(io.StringIO(sheet.read_text("utf-8-sig"))))
    table = io.StringIO()
    writer = csv.DictWriter(table, rows[0])
    writer.writeheader()
    for row in rows:
        truth = desk.queue_of.get(row["text"])
        verdict = {"verdict": "keep"} if truth == row["label"] else {"verdict": "other", "new_label": truth}
        writer.writerow({**row, **(verdict if truth else {"verdict": "drop"}), "reviewer": "Ada"})
    sheet.write_text(table.getvalue(), "utf-8")
    outcome = desk.retune("review", "feedback", "import", str(sheet), "--allow-new", "--json")
    assert outcome["ingested"] >= 60 and outcome["conflicts"] == []
    weeks = desk.retune("review", "feedback", "status", "--json")["weeks"]
    assert weeks and all(week["accuracy"] is None or 0 <= week["accuracy"]["low"] <= 1 for week in weeks)


def test_the_next_version_learns_from_them_and_waits(desk):
    settings = [word for key, value in LENIENT.items() for word in ("-S", f"promote.{key}={value}")]
    desk.retune("run", "-S", "promote.approval=true", *settings, timeout=600)
    versions = {each["version"]: each for each in desk.retune("models", "--json")}
    assert desk.ready()["models"][0]["version"] == "classifier/1", "nobody has approved it yet"
    assert len(versions) == 2


def test_it_is_rolled_out_and_takes_over(desk):
    texts, stop, answers = cycle([*desk.usual["body"].tail(100), *desk.new["body"].tail(100)]), threading.Event(), []
    lock = threading.Lock()

    def keep_asking(thread):
        number = 0
        while not stop.is_set():
            with lock:
                text = next(texts)
            number += 1
            answer = desk.post("/v1/predict", {"texts": [text], "subject": f"customer {thread} {number}"})
            answers.append(answer.get("version", answer))

    threads = [threading.Thread(target=keep_asking, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    try:
        after = desk.retune("rollout", "start", "classifier/2", "--steps", "shadow,50,100", "--json", timeout=900)
    finally:
        time.sleep(8)  # the server follows its alias
        stop.set()
        for thread in threads:
            thread.join()
    assert after["state"] == "completed", after
    assert set(answers) == {"classifier/1", "classifier/2"}, "each request had an answer of one of both"
    assert set(answers[-20:]) == {"classifier/2"}
    assert desk.ready()["models"][0]["version"] == "classifier/2"


def test_a_request_of_now_leads_to_the_row_that_came_from_a_request_of_then(desk):
    answer = desk.post("/v1/predict", {"texts": [desk.new["body"].iloc[-1]]})
    time.sleep(2)
    (part,) = desk.retune("lineage", "request", answer["request_id"], "--json")["served"]
    assert part["origin"]["approved"] or part["origin"]["champion"]
    rows = desk.retune("lineage", "model", "classifier/2", "--json")["record"]["data"]
    assert "feedback" in json.dumps(rows)
    first = next(iter(desk.answers.values()))["request_id"]
    (then,) = desk.retune("lineage", "request", first, "--json")["served"]
    review = then["answers"][0]["review"]
    if review and review["row"]:
        readers = desk.retune("lineage", "row", review["row"], "--json")
        assert re.search("classifier", json.dumps(readers["versions"]))


def test_the_whole_history_checks_out(desk):
    assert desk.retune("verify", "classifier/2", "--json", timeout=300)["ok"]
