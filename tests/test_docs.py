"""What README and CONTRIBUTING name exists: paths, commands, `make` targets, modules, links."""

import re
from functools import cache
from pathlib import Path

import click
import pytest

from docs.generate.pages import PAGES, REFERENCE
from flows.cli.main import retune

ROOT = Path(__file__).parent.parent
MADE_BY_A_RUN = ("data/", "models/", ".retune", ".venv", "dvc.lock")
PLACEHOLDERS = {"own.csv", "tickets.csv", "file.csv", "org/name", "retune/intake"}  # the last is a branch
LOOKS_LIKE_A_FILE = (".py", ".yaml", ".yml", ".md", ".lock", ".toml", ".csv", "/")
TREE_FILE = r"[\w./-]+\.(?:py|yaml|yml|md|toml)\b"
OWN_FOLDERS = ("flows", "retune", "tasks", "tests", "bench", "docs", "infra")


def gone(readme: str) -> list[str]:
    """Whatever a README names that is not there: paths, `retune` subcommands, `make` targets, modules, links."""
    fenced = "\n".join(re.findall(r"^```.*?^```", readme, re.DOTALL | re.MULTILINE))
    prose = re.sub(r"^```.*?^```", "", readme, flags=re.DOTALL | re.MULTILINE)
    spans = re.findall(r"`([^`\n]+)`", prose)
    code = "\n".join([*spans, fenced])  # a command stands at the start of a line, after a prompt or after &&
    words = re.findall(r"(?:^|&&|[$;]) *(retune|make) ([a-z][\w-]*)", code, re.MULTILINE)
    known = {"retune": commands(), "make": targets()}
    missing = [f"`{span}`" for span in spans if is_path(span) and not exists(span)]
    missing += [f"`{tool} {word}`" for tool, word in words if word not in known[tool]]
    missing += [f"{name} in a tree" for name in re.findall(TREE_FILE, fenced) if not exists(name)]
    missing += [f"python {path}" for path in re.findall(r"\bpython3? ([\w./-]+\.py)", code) if not exists(path)]
    modules = re.findall(r"\bpython3? -m ((?:tasks|flows|retune)[\w.]*)", code)
    missing += [f"python -m {name}" for name in modules if not is_module(ROOT / name.replace(".", "/"))]
    links = re.findall(r"\]\(([^)#\s]+)", prose) + re.findall(r"(?:src|srcset|href)=\"([^\"#]+)\"", prose)
    missing += [f"link to {link}" for link in links if "://" not in link and not (ROOT / link).exists()]
    return missing


def is_module(path: Path) -> bool:
    return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


def is_path(span: str) -> bool:
    if not re.fullmatch(r"[\w.*/-]+", span) or span in PLACEHOLDERS or span.startswith(MADE_BY_A_RUN):
        return False
    return span.endswith(LOOKS_LIKE_A_FILE) or (span.partition("/")[0] in OWN_FOLDERS and "/" in span)


def exists(path: str) -> bool:
    """A path from the root, or the bare name of a file somewhere in the folders of the repository."""
    if any(ROOT.glob(path.rstrip("/"))):
        return True
    return "/" not in path and any(hit for top in OWN_FOLDERS for hit in (ROOT / top).rglob(path))


def commands() -> set[str]:
    """The words of `retune`, with those of its groups: `schedule`, `schedule set`."""
    groups = {name: each for name, each in retune.commands.items() if isinstance(each, click.Group)}
    return set(retune.commands) | {f"{name} {word}" for name, group in groups.items() for word in group.commands}


@cache
def targets() -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text("utf-8"), re.M))


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "tests/samples/README.md"])
def test_whatever_a_page_names_exists(page):
    assert gone((ROOT / page).read_text("utf-8")) == []


def test_a_readme_that_names_something_gone_is_noticed():
    good = (
        "`flows/cli/main.py` `params.yaml` `main.py` `tasks/train/*.py` `org/name` `retune run` [log](DECISIONS.md)\n"
    )
    good += "```\nmake setup\nretune ingest own.csv --text body\npython -m tasks.split a b c\nmake it so\n```\n"
    assert gone(good.replace("make it so\n", "")) == []
    for bad in (
        "`flows/nothing.py`",
        "`gone.yaml`",
        "`retune/gone`",
        "`retune fly`",
        "`make nothing`",
        "`python -m tasks.gone`",
        "`python bench/gone.py`",
        "[map](docs/gone.png)",
        "```\nretune fly\n```",
        "```\nflows/\n  gone.py   what it was\n```",
    ):
        assert len(gone(bad)) >= 1, bad


@pytest.mark.parametrize("page", PAGES)
def test_a_generated_page_is_what_the_code_says(page):
    assert (REFERENCE / page).read_text("utf-8") == PAGES[page](), "`make docs` writes it anew"
