"""Take the README's pictures: the MLflow UI, the report and a lineage page, as a browser shows them.

    retune run && python docs/pictures.py

Needs a Chromium or Chrome on the path, or its path in CHROME, and playwright of `pip install -e .[dev]`; downloads
nothing.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from flows.project import environment
from retune.config import params
from retune.registry import backend, runs, versions

ASSETS, REPORT = Path("docs/assets"), Path("models/reports/report.html")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
WIDTH = 1400
# A browser's first visit opens the panel of MLflow's assistant. People close it once; this is how MLflow notes that.
NO_ASSISTANT = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"


def main() -> None:
    executable = find_browser() or sys.exit(f"no browser: none of {', '.join(BROWSERS)} is on the path, nor in CHROME")
    environment.activate_project()
    name = params.load().register.name
    found = [(versions.metrics(version).get("macro_f1", 0.0), version.run_id) for version in versions.versions(name)]
    if not found:
        sys.exit(f"no version of {name} is registered: `retune run` makes one")
    run = backend.client().get_run(max(found)[1]).info
    with ui() as server, browser(executable) as page:
        of_run, training = (
            f"{server}/#/experiments/{run.experiment_id}/runs/{run.run_id}",
            "workflowType=machine_learning",
        )
        take(page, "runs", runs.runs_page(server, name), shows="matching runs", height=520)
        take(page, "run", f"{of_run}/model-metrics?{training}", shows="Add chart", height=900)
        take(page, "artifacts", f"{of_run}/artifacts/model_card.md?{training}", shows="Intended use", height=1000)
        take(page, "report", REPORT.resolve().as_uri(), shows="Pictures", height=975)
        with tempfile.TemporaryDirectory() as scratch:
            html = Path(scratch) / "lineage.html"
            words = ["lineage", "model", f"{name}@champion", "--html", str(html)]
            subprocess.run([sys.executable, "-m", "flows.cli", *words], check=True, stdout=subprocess.DEVNULL)
            take(page, "lineage", html.as_uri(), shows="The road", height=1560)


def find_browser() -> str | None:
    return os.environ.get("CHROME") or next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def ui() -> Iterator[str]:
    """The address of `retune ui`, on a free port, while it is needed."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-m", "flows.cli", "ui", "--port", port]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        named = (re.search(r"https?://[^\s#]+", line) for line in server.stdout or [])
        yield answering(next((found[0].rstrip("/") for found in named if found), ""))
    finally:
        server.terminate()
        server.wait()


def answering(address: str) -> str:
    """The address, once its server answers."""
    for _ in range(120):
        with suppress(OSError, ValueError):
            urlopen(f"{address}/health")
            return address
        time.sleep(0.5)
    sys.exit("`retune ui` does not answer: run it to see why")


@contextmanager
def browser(executable: str) -> Iterator[Page]:
    with sync_playwright() as play, closing(play.chromium.launch(executable_path=executable, args=QUIET.split())) as it:
        context = it.new_context(color_scheme="light")
        context.add_init_script(NO_ASSISTANT)
        yield context.new_page()


def take(page: Page, name: str, address: str, shows: str, height: int) -> None:
    """Write docs/assets/NAME.png: the page at `address` once it shows that text, in few colours, for a small file."""
    page.set_viewport_size({"width": WIDTH, "height": height})
    page.goto("about:blank")  # else an address that differs after its # alone loads nothing
    page.goto(address)
    page.get_by_text(shows).first.wait_for(timeout=60_000)
    page.wait_for_timeout(4000)  # charts are drawn after their titles
    page.get_by_text("Path: file:").evaluate_all("all => all.forEach(it => it.remove())")  # of this machine only
    path = ASSETS / f"{name}.png"
    page.screenshot(path=path)
    Image.open(path).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}  {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
