"""The page to try a version: as it is written, and (slow) in a real browser against a real server."""

import asyncio
import importlib.util
import threading
import time
from contextlib import closing

import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import sync_playwright

from tasks.serve import server, try_routes
from tasks.serve.app import make_app
from tests.support.environment import ROOT


def test_the_page_fetches_from_its_own_server_alone_and_asks_for_a_key_where_one_is_needed(make_service):
    page = TestClient(make_app(make_service())).get("/").text
    assert "connect-src 'self'" in page and "default-src 'none'" in page and 'type="password"' not in page
    assert 'id="model"' not in page and 'id="correct"' in page
    assert 'type="password"' in try_routes.html(make_service(public=True), True)


def test_a_page_of_several_models_lets_choose_one_and_one_without_feedback_asks_for_none(make_service):
    page = try_routes.html(make_service("desk", "shop"), False)
    assert "<option>desk</option><option>shop</option>" in page and 'id="correct"' not in page


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


@pytest.fixture
def address(make_service):
    """Of a server whose model answers each text with itself, and takes feedback into a list."""
    service = make_service()
    listener = server._listen("127.0.0.1", 0)
    running = server.Server(service)
    thread = threading.Thread(target=lambda: asyncio.run(running.serve(sockets=[listener])), daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    running.should_exit = True
    thread.join(10)


REASONS = {
    "request_id": "r", "version": "desk/1", "label": "bills", "missing": "1 near row is forgotten and not shown",
    "words": [{"word": "<b>bill</b>", "place": 0, "loss": 0.25}, {"word": "not", "place": 5, "loss": -0.125}],
    "neighbours": [{"id": "r1", "similarity": 0.98, "source": "desk", "label": "bills", "text": "<img src=x>" * 9},
                   {"id": "r2", "similarity": 0.5, "source": None, "label": None, "text": None}],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(400, "light"), (400, "dark"), (1400, "light")])
def test_a_text_is_asked_and_corrected_by_keys_alone(chromium, address, width, scheme):
    view = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
    messages, opinions = [], []
    view.on("console", lambda message: messages.append(message.text))
    view.on("pageerror", lambda error: messages.append(str(error)))
    view.route("**/v1/explain", lambda route: route.fulfill(json=REASONS))
    view.route("**/v1/feedback", lambda route: (opinions.append(route.request.post_data_json), route.fulfill(json={})))
    view.goto(address)
    view.keyboard.type("<script>alert(1)</script> my bill")
    view.keyboard.press("Control+Enter")
    view.wait_for_selector("#why:not([hidden])")
    assert view.inner_text("#label") == "<script>alert(1)</script> my bill"
    assert view.inner_text("#confidence") == "75.0 % confident:" and view.inner_text("#version") == "desk/1"
    assert "<b>bill</b> +0.250" in view.inner_text("#words") and "not −0.125" in view.inner_text("#words")
    assert view.inner_text("#missing") == REASONS["missing"] and view.locator("#nearest tbody tr").count() == 2
    assert view.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    for key in ("Tab", "Tab", "Enter", "Tab", "Tab"):
        view.keyboard.press(key)
    view.keyboard.type("refunds")
    view.keyboard.press("Enter")
    view.wait_for_function("document.getElementById('thanks').textContent")
    request_id = view.inner_text("#request")
    assert opinions == [{"request_id": request_id, "position": 0, "rating": 1},
                        {"request_id": request_id, "position": 0, "label": "refunds"}]  # fmt: skip
    assert messages == []
    view.context.close()


@pytest.mark.slow
def test_a_refusal_is_shown_in_its_own_words(chromium, address):
    view = chromium.new_page()
    view.route("**/v1/predict", lambda route: route.fulfill(
        status=503, json={"error": {"kind": "overloaded", "message": "9 texts wait", "request_id": "r"}}))  # fmt: skip
    view.goto(address)
    view.fill("#text", "a")
    view.click("#ask")
    view.wait_for_function("document.getElementById('wrong').textContent === '9 texts wait'")
    assert view.is_hidden("#answer") and view.is_enabled("#ask")
    view.close()
