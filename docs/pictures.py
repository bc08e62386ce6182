"""Take the pictures of README and docs: the MLflow UI, the report, the data and a lineage page, in a browser.

    retune run && python docs/pictures.py

Each in light and in dark colours: docs/assets/NAME.png and NAME-dark.png. Needs a Chromium or Chrome on the path, or
its path in CHROME, and playwright of `pip install -e .[dev]`; downloads nothing.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.request import urlopen

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from flows.project import environment
from retune.config import params
from retune.registry import backend, runs, versions
from tasks.register import run_page

ASSETS = Path("docs/assets")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
WIDTH = 1400
# A browser's first visit opens the panel of MLflow's assistant. People close it once; this is how MLflow notes that.
NO_ASSISTANT = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


@dataclass(frozen=True)
class Picture:
    name: str
    address: str
    shows: str  # a text that stands on the page once it is drawn
    height: int


def main() -> None:
    executable = find_browser() or sys.exit(f"no browser: none of {', '.join(BROWSERS)} is on the path, nor in CHROME")
    environment.activate_project()
    name = params.load().register.name
    scored = [(versions.metrics(version).get("macro_f1", 0.0), version.run_id) for version in versions.versions(name)]
    if not scored:
        sys.exit(f"no version of {name} is registered: `retune run` makes one")
    run = backend.client().get_run(max(scored)[1]).info
    with ui() as server, browser(executable) as chromium, tempfile.TemporaryDirectory() as scratch:
        page_of_run = f"{server}/#/experiments/{run.experiment_id}/runs/{run.run_id}"
        training = "workflowType=machine_learning"
        lineage, data = Path(scratch) / "lineage.html", Path(scratch) / "data.html"
        for page, words in ((lineage, ["lineage", "model", f"{name}@champion"]), (data, ["data", "report"])):
            command = [sys.executable, "-m", "flows.cli", *words, "--html", str(page)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        for picture in (
            Picture("runs", runs.runs_page(server, name), "gain_over_base", 520),
            Picture("run", f"{page_of_run}/model-metrics?{training}", "Add chart", 900),
            Picture("artifacts", f"{page_of_run}/artifacts/model_card.md?{training}", "Intended use", 1000),
            Picture("report", run_page.REPORT.resolve().as_uri(), "Pictures", 975),
            Picture("data-report", data.as_uri(), "What to do next", 1400),
            Picture("lineage", lineage.as_uri(), "From sources to champion", 1560),
        ):
            for scheme in SCHEMES:
                take(chromium, picture, scheme)


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
        yield answering(next((match[0].rstrip("/") for match in named if match), ""))
    finally:
        server.terminate()
        server.wait()


def answering(address: str) -> str:
    """The address, once its server answers."""
    for _ in range(600):
        with suppress(OSError, ValueError):
            urlopen(f"{address}/health")
            return address
        time.sleep(0.5)
    sys.exit("`retune ui` does not answer: run it to see why")


@contextmanager
def browser(executable: str) -> Iterator[Browser]:
    with sync_playwright() as play, closing(play.chromium.launch(executable_path=executable, args=QUIET.split())) as it:
        yield it


def take(chromium: Browser, picture: Picture, scheme: Literal["light", "dark"]) -> None:
    """Write the page as a PNG once it shows its text, in colours few enough for a small file."""
    context = chromium.new_context(color_scheme=scheme, viewport={"width": WIDTH, "height": picture.height})
    with closing(context):
        context.add_init_script(NO_ASSISTANT)
        page = context.new_page()
        page.goto(picture.address, timeout=180_000)
        page.get_by_text(picture.shows).first.wait_for(timeout=180_000)
        page.wait_for_timeout(4000)  # charts are drawn after their titles
        page.get_by_text("Path: file:").evaluate_all("all => all.forEach(it => it.remove())")  # of this machine only
        path = ASSETS / f"{picture.name}{'' if scheme == 'light' else '-dark'}.png"
        page.screenshot(path=path, timeout=180_000)
    Image.open(path).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}  {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
