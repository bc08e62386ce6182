"""The commands of README and of the tutorials work, one after another, in a fresh clone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.clones import PERSON
from tests.support.environment import ROOT
from tests.support.pages import Page
from tests.support.shell_blocks import script_of

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs/tutorials").glob("*.md"))]
COMMITTER = {name.replace("AUTHOR", "COMMITTER"): value for name, value in PERSON.items()}


@pytest.fixture
def readers_clone(new_clone, tmp_path):
    """A fresh clone on which `make setup` has nothing to do, with the cheap classifier. Its services end with it."""
    clone = new_clone(tmp_path / "retune", **PERSON, **COMMITTER, BROWSER="true")
    parameters = clone.folder / "params.yaml"
    parameters.write_text(parameters.read_text("utf-8").replace("method: full ", "method: probe", 1), "utf-8")
    clone.git("commit", "-qam", "Train the cheap classifier")
    (clone.folder / ".venv").mkdir()
    for path in Path(sys.prefix).iterdir():
        (clone.folder / ".venv" / path.name).symlink_to(path)
    (clone.folder / ".venv/ready").unlink(missing_ok=True)
    (clone.folder / ".venv/ready").touch()
    yield clone
    clone.retune("down")


@pytest.mark.long  # they train several models
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_commands_of_a_page_work_in_a_fresh_clone(path, readers_clone, tmp_path):
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.run(
            ["bash", "-c", script_of(Page.read(path))],
            cwd=readers_clone.folder,
            env=readers_clone.environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=3500,
        )
    text = log.read_text("utf-8", errors="replace")
    assert process.returncode == 0, text[text.rfind("\n:::", 0, -4000) :] if len(text) > 4000 else text


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_shell_can_read_the_commands_of_a_page(path):
    subprocess.run(["bash", "-n", "-c", script_of(Page.read(path))], check=True)


def run(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", script_of(Page(ROOT / "PAGE.md", text))], capture_output=True, text=True, env=dict(os.environ)
    )


def test_blocks_run_in_one_shell_in_order():
    blocks = ("sh\nNUMBER=3", "\nan output", "python\nprint('from Python')", "sh\necho \\\n  $NUMBER")
    page = "\n".join(f"```{block}\n```" for block in blocks)
    lines = ["::: PAGE.md, line 1", "::: PAGE.md, line 7", "from Python", "::: PAGE.md, line 10", "3"]
    assert run(page).stdout.splitlines() == lines


def test_a_block_that_is_not_run_says_why():
    page = "<!-- not run: needs a GPU -->\n```sh\nexit 3\n```\n"
    assert Page(ROOT / "PAGE.md", page).blocks[0].not_run == "needs a GPU"
    assert run(page).returncode == 0


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("false", 1),
        ("false   # held: exit code 1", 0),
        ("true    # held: exit code 1", 1),
        ("make test   # everything", 0),
        ("echo 'a # b' && false", 1),
    ],
)
def test_a_command_must_end_as_the_page_says(line, code):
    assert run(f"```sh\n{line}\necho on\n```\n").returncode == code
