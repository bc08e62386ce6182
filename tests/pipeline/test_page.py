"""The lineage page in a real browser: it opens, fits and stays quiet, whatever it holds."""

import importlib.util
from contextlib import closing

import pytest
from playwright.sync_api import sync_playwright

from retune.documents import lineage_page
from tests.support.environment import ROOT

CHECKED = "2026-11-26T09:00:00+00:00"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pictures():
    """docs/pictures.py, which knows where a browser is and what keeps it quiet."""
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "docs/pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def chromium(pictures):
    executable = pictures.find_browser()
    if not executable:
        pytest.skip(f"no browser: none of {', '.join(pictures.BROWSERS)} is on the path, and CHROME is not set")
    quiet = pictures.QUIET.split()
    with sync_playwright() as play, closing(play.chromium.launch(executable_path=executable, args=quiet)) as it:
        yield it


@pytest.fixture(params=["as it is", "hostile and large", "with nothing recomputed", "without sources"])
def file(request, lineage_facts, tmp_path):
    arguments = lineage_facts.record, "tickets/7", lineage_facts.links, lineage_facts.entries, CHECKED
    if request.param == "hostile and large":
        bad = request.getfixturevalue("hostile_facts")
        arguments = bad.record, f"{bad.record['name']}/7", bad.links, bad.entries, CHECKED
    elif request.param == "with nothing recomputed":
        arguments = lineage_facts.record, "", [], []
    elif request.param == "without sources":
        lineage_facts.record["data"]["sources"] = {}
    path = tmp_path / "lineage.html"
    path.write_text(lineage_page.page(*arguments), "utf-8")
    return path


@pytest.fixture
def visit(chromium, file):
    """Opens the page; afterwards nothing may have been said on the console or asked of anyone."""
    opened = []

    def open_page(width, scheme):
        view = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
        messages, requests = [], []
        view.on("console", lambda message: messages.append(message.text))
        view.on("pageerror", lambda error: messages.append(str(error)))
        view.on("request", lambda request: requests.append(request.url))
        view.goto(file.as_uri())
        opened.append((view, messages, requests))
        return view

    yield open_page
    for view, messages, requests in opened:
        assert view.title().endswith(": lineage")
        assert messages == []
        assert [url for url in requests if url not in (file.as_uri(), "data:,")] == []
        view.context.close()


def overflow(view):
    return view.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_every_stage_opens_by_click_and_by_key_and_nothing_scrolls_sideways(visit, width, scheme):
    view = visit(width, scheme)
    assert overflow(view) == 0
    assert view.locator(".verdict strong").bounding_box()["y"] < 800, "the verdict is not on the first screen"
    stages = view.locator("details[data-stage]")
    assert stages.count() == len(lineage_page.STAGES)
    for place in range(stages.count()):
        stage, facts = stages.nth(place), stages.nth(place).locator(".facts")
        assert not facts.is_visible()
        stage.locator("summary").first.click(position={"x": 30, "y": 20})
        assert facts.is_visible()
        view.keyboard.press("Enter")
        assert not facts.is_visible()
        view.keyboard.press("Space")
        assert facts.is_visible()
    view.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert overflow(view) == 0


def test_every_summary_is_reached_with_the_tab_key_alone(visit):
    view = visit(400, "light")
    reached = set()
    for _ in range(80):
        view.keyboard.press("Tab")
        reached.add(view.evaluate("document.activeElement.parentElement?.dataset.stage ?? ''"))
    assert reached >= set(lineage_page.STAGES)


def test_a_stage_of_the_picture_opens_its_facts(visit):
    view = visit(1400, "light")
    for stage in lineage_page.STAGES:
        view.locator(f".map a[href='#facts-{stage}']").press("Enter")
        view.locator(f"#facts-{stage}").wait_for(state="visible", timeout=5000)


def test_the_verdict_leads_to_what_was_recomputed(visit):
    view = visit(400, "light")
    if view.locator("#links").count():
        view.locator(".verdict a").press("Enter")
        view.locator("#links").wait_for(state="visible", timeout=5000)


def test_on_paper_everything_is_open(visit):
    view = visit(1400, "dark")
    view.emulate_media(media="print")
    heights = view.locator("details > *:not(summary)").evaluate_all(
        "all => all.map(it => it.getBoundingClientRect().height)"
    )
    assert all(height > 0 for height in heights)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(visit, scheme):
    """WCAG 2.2, 1.4.3: 4.5 to 1 for text."""
    view = visit(1400, scheme)
    view.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert view.evaluate(FAINT) == []


FAINT = """() => {
  const parse = colour => (colour.match(/[\\d.]+/g) || []).map(Number);
  const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => [r, g, b].map(v => linear(v / 255))
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const ground = it => { for (; it; it = it.parentElement) { const c = parse(getComputedStyle(it).backgroundColor);
    if (c.length && c[3] !== 0) return c } return [255, 255, 255] };
  const faint = new Set();
  for (const it of document.querySelectorAll('body *:not(svg *)')) {
    if (![...it.childNodes].some(node => node.nodeType === 3 && node.data.trim())) continue;
    const [a, b] = [light(parse(getComputedStyle(it).color)), light(ground(it))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) faint.add(`${it.tagName}.${it.className} ${getComputedStyle(it).color}`);
  }
  return [...faint];
}"""
