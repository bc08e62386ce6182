"""Human review, whole: the page in a real browser, and a sheet that goes out of the registry and comes back."""

import csv
import importlib.util
import json
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import sync_playwright

from retune.evaluation import human_review, human_verdicts, label_review, statistics
from tests.support.environment import ROOT

PAIRS = pd.DataFrame({"id": list("abc"), "prompt": ["1", "2", "3"], "ours": ["x"] * 3, "theirs": ["y"] * 3})

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chromium():
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "docs/pictures.py")
    pictures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pictures)
    if not (executable := pictures.find_browser()):
        pytest.skip(f"no browser: none of {', '.join(pictures.BROWSERS)} is on the path, and CHROME is not set")
    quiet = pictures.QUIET.split()
    with sync_playwright() as play, closing(play.chromium.launch(executable_path=executable, args=quiet)) as it:
        yield it


def test_the_page_keeps_verdicts_and_hands_them_out_as_a_file(chromium, tmp_path):
    sheet, key = human_review.draw_sheet(PAIRS, "writer/2", "writer/1", 3, 17)
    (tmp_path / "sheet.html").write_text(human_review.as_page(sheet, key), "utf-8")
    view = chromium.new_context(accept_downloads=True).new_page()
    requests, messages = [], []
    view.on("request", lambda request: requests.append(request.url))
    view.on("console", lambda message: messages.append(message.text))
    view.goto((tmp_path / "sheet.html").as_uri())
    view.fill("#reviewer", 'Ada, "the" first')
    view.check("article[data-id=a] input[value=A]")
    view.check("article[data-id=c] input[value=tie]")
    view.fill("article[data-id=c] input.note", "=both fine")
    view.reload()
    assert view.inner_text("#count") == "2 of 3 answered"
    with view.expect_download() as saved:
        view.click("#save")
    path = tmp_path / saved.value.suggested_filename
    saved.value.save_as(path)
    assert messages == [] and [url for url in requests if not url.startswith(("file:", "blob:"))] == []
    assert human_verdicts.sheet_of([path]) == key.sheet
    answers = {answer.id: answer for answer in human_verdicts.read_verdicts([path], key)}
    assert set(answers) == {"a", "c"} and answers["c"].value == statistics.ALIKE
    assert answers["a"].value == (statistics.OURS if key.ours_is["a"] == "A" else statistics.THEIRS)
    assert answers["a"].reviewer == 'Ada, "the" first'
    assert "'=both fine" in path.read_text("utf-8")


def test_the_page_of_labels_is_filled_in_by_keys_alone(chromium, tmp_path):
    rows = [{"id": name, "text": f"text {name}", "label": "a", "suggested": "=b", "score": 0.9} for name in "1234"]
    sheet = label_review.sheet_of(rows, ["a", "=b", "c"])
    (tmp_path / "sheet.html").write_text(label_review.as_page(sheet), "utf-8")
    view = chromium.new_context(accept_downloads=True).new_page()
    requests, messages = [], []
    view.on("request", lambda request: requests.append(request.url))
    view.on("console", lambda message: messages.append(message.text))
    view.goto((tmp_path / "sheet.html").as_uri())
    for key in ("k", "s", "o"):
        view.keyboard.press(key)
    view.keyboard.type("c")
    view.keyboard.press("Enter")
    view.keyboard.press("d")
    view.fill("#reviewer", "Ada")
    view.reload()
    assert view.inner_text("#count") == "4 of 4 answered"
    with view.expect_download() as saved:
        view.click("#save")
    path = tmp_path / saved.value.suggested_filename
    saved.value.save_as(path)
    assert messages == [] and [url for url in requests if not url.startswith(("file:", "blob:"))] == []
    answers = label_review.read_answers([path], sheet.labels, False, "retune review labels export")
    assert [(answer.id, answer.label, answer.after) for answer in answers] == [
        ("1", "a", "a"),
        ("2", "a", "=b"),
        ("3", "a", "c"),
        ("4", "a", None),
    ]
    assert {answer.reviewer for answer in answers} == {"Ada"}


def test_a_sheet_goes_out_of_the_registry_and_its_verdicts_come_back(new_clone, small_run_settings, tmp_path):
    clone = new_clone(tmp_path)
    source = "tests/samples/tickets.csv"
    columns = ("--text", "body", "--label", "queue", "--id", "ticket_id", "--group", "customer_id")
    assert clone.retune("ingest", source, *columns).returncode == 0
    settings = [word for name, value in small_run_settings.items() for word in ("-S", f"{name}={value}")]
    done = clone.retune("run", *settings, timeout=600)
    assert done.returncode in (0, 1), done.stderr
    done = clone.retune("review", "export", "classifier/1", "--rows", "12", "--seed", "17", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["rows"] == 12 and Path(report["page"]).is_file()
    key = json.loads((clone.folder / ".retune/reviews" / f"{report['sheet']}.json").read_text("utf-8"))
    for reviewer in ("ada", "bob"):
        with (clone.folder / f"{reviewer}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["sheet", "id", "verdict"])
            writer.writerows([report["sheet"], row, side] for row, side in key["ours_is"].items())
    for _ in range(2):  # the second time changes nothing
        done = clone.retune("review", "import", "ada.csv", "bob.csv")
        assert done.returncode == 0, done.stderr
        assert "classifier/1 is better than the base of classifier/1: 1" in done.stdout  # the rest are rows that agree
        assert " won, 0 lost" in done.stdout and "accuracy of classifier/1 on all rows 1.000" in done.stdout
    assert clone.git("tag", "--list", "classifier#reviewed#*").count("\n") == 1
    assert clone.retune("history", "--verify").returncode == 0
    done = clone.retune("review", "import", "params.yaml")
    assert done.returncode == 2 and "not a readable format" in done.stderr
