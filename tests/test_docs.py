"""What the documentation names exists: paths, commands, options, parameters, make targets, variables and links."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest
import yaml

from docs.generate import environment
from docs.generate.pages import PAGES
from flows.cli.main import retune
from retune.config import params, reference
from retune.data import task_data
from tests.support.pages import ROOT, Page

DOCS = ROOT / "docs"
OUTSIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "DECISIONS.md", "tests/samples/README.md")
READ = [path for path in (*map(ROOT.joinpath, OUTSIDE), *sorted(DOCS.rglob("*.md"))) if path.exists()]
GENERATED = set(map(ROOT.joinpath, PAGES))
LONGEST = 150  # lines of a page; a reader of more lines has asked more than one question

OUTPUTS = ("data/", "models/", ".retune", ".venv", "dvc.lock", "site/", "review/")  # a run makes them
PLACEHOLDERS = {"own.csv", "tickets.csv", "file.csv", "org/name", "retune/intake"}  # the last is a branch
LOOKS_LIKE_A_FILE = (".py", ".yaml", ".yml", ".md", ".lock", ".toml", ".csv", "/")
TREE_FILE = r"[\w./-]+\.(?:py|yaml|yml|md|toml)\b"
OWN_FOLDERS = ("flows", "retune", "tasks", "tests", "bench", "docs", "infra")
PREFIXES = {"nice", "time", "env", "sudo", "nohup"}  # words that may stand before a command


def faults(page: Page) -> list[str]:
    """Whatever a page names that does not exist."""
    return [
        *(f"`{span}`" for span in page.spans if is_path(span) and not exists(span) and not is_of_the_past(page)),
        *(
            f"`{span}` is no parameter"
            for span in page.spans
            if looks_like_a_parameter(span) and not is_parameter(span)
        ),
        *(fault for words in page.commands for fault in faults_of_command(words)),
        *(f"{name} in a tree" for name in trees(page) if not exists(name)),
        *(f"`{path}` is no parameter" for path in yaml_paths(page) if not is_parameter(path)),
        *(f"`{name}` is no variable" for name in re.findall(r"\bRETUNE_[A-Z_]+", page.text) if name not in variables()),
        *(f"link to {link}" for link in page.links if not leads_somewhere(page, link)),
    ]


def is_of_the_past(page: Page) -> bool:
    """A decision names the files of its day."""
    return page.path.parent == DOCS / "decisions"


def trees(page: Page) -> list[str]:
    """The files that a block names which is no command, such as a sketch of folders."""
    return [name for block in page.blocks if not block.language for name in re.findall(TREE_FILE, block.text)]


def is_path(span: str) -> bool:
    if not re.fullmatch(r"[\w.*/-]+", span) or span in PLACEHOLDERS or span.startswith((*OUTPUTS, "/", "-")):
        return False
    return span.endswith(LOOKS_LIKE_A_FILE) or (span.partition("/")[0] in OWN_FOLDERS and "/" in span)


@cache
def exists(path: str) -> bool:
    """A path from the root, or the bare name of a file somewhere in the folders of the repository."""
    if any(ROOT.glob(path.rstrip("/"))):
        return True
    return "/" not in path and any(hit for top in OWN_FOLDERS for hit in (ROOT / top).rglob(path))


def faults_of_command(words: list[str]) -> Iterator[str]:
    while words and (re.match(r"[A-Z_]+=", words[0]) or words[0] in PREFIXES):
        words = words[1:]
    match words:
        case [tool, *rest] if tool in ("retune", ".venv/bin/retune", "$(BIN)/retune"):
            yield from faults_of_call(rest)
        case ["make", *rest]:
            yield from (f"`make {word}`" for word in rest if re.fullmatch("[a-z-]+", word) and word not in targets())
        case [tool, "-m", module, *_] if (
            Path(tool).name.startswith("python") and module.partition(".")[0] in OWN_FOLDERS
        ):
            if not module.endswith(".") and not is_module(ROOT / module.replace(".", "/")):  # a sketch: tasks.<stage>
                yield f"`python -m {module}`"
        case [tool, script, *rest] if Path(tool).name in ("python", "python3", "sh", "bash") and "/" in script:
            yield from faults_of_script(script, rest)


def faults_of_script(script: str, rest: list[str]) -> Iterator[str]:
    if script.startswith(("/", "$", *OUTPUTS)):
        return
    if not (ROOT / script).is_file():
        yield f"`{script}`"
        return
    text = (ROOT / script).read_text("utf-8")
    yield from (f"`{script} {word}`" for word in rest if word.startswith("--") and word.strip("[]") not in text)


def faults_of_call(words: list[str]) -> Iterator[str]:
    """words: those after `retune`. Its command must exist, and have each option; `-S` must name a parameter."""
    command, path, options = retune, ["retune"], {"-h", "--help", "--version"}
    for number, word in enumerate(words):
        word = word.strip("[]").rstrip(".,:")
        if isinstance(command, click.Group) and re.fullmatch("[a-z][a-z-]*", word):
            if word not in command.commands:
                yield f"`{' '.join(path)} {word}`"
                return
            command = command.commands[word]
            path.append(word)
            options = {
                "-h",
                "--help",
                *(name for each in command.params for name in (*each.opts, *each.secondary_opts)),
            }
        elif re.match("--?[a-zA-Z]", word) and word.partition("=")[0] not in options:
            yield f"`{' '.join(path)} {word}`"
        elif word in ("-S", "--set-param") and (pair := words[number + 1 :][:1]):
            name = pair[0].partition("=")[0]
            if name != "section.key" and not is_parameter(name):
                yield f"`-S {pair[0]}` sets no parameter"


def is_module(path: Path) -> bool:
    return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


@cache
def targets() -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text("utf-8"), re.M))


@cache
def parameters() -> set[str]:
    return {each.path for task in params.TASKS for each in reference.parameters(task)}


def is_parameter(path: str) -> bool:
    return path in parameters() or path.replace("[]", "") in {each.replace("[]", "") for each in parameters()}


def looks_like_a_parameter(span: str) -> bool:
    sections = {path for path in parameters() if "." not in path}
    dotted = re.fullmatch(r"([a-z_]+)(\.[a-z_]+(\[\])?)+", span)
    return bool(dotted and dotted[1] in sections and not span.endswith(LOOKS_LIKE_A_FILE))


def yaml_paths(page: Page) -> Iterator[str]:
    """The dotted paths of every piece of params.yaml that a page shows."""
    for block in page.blocks:
        values = yaml.safe_load(block.text) if block.language == "yaml" else None
        if isinstance(values, dict) and set(values) <= {path.partition(".")[0] for path in parameters()}:
            yield from paths_in(values, "")


def paths_in(values: object, prefix: str) -> Iterator[str]:
    if isinstance(values, dict) and prefix not in parameters_with_free_keys():
        for key, value in values.items():
            path = f"{prefix}.{key}".lstrip(".")
            yield path
            yield from paths_in(value, path)
    if isinstance(values, list):
        for value in values:
            yield from paths_in(value, f"{prefix}[]")


@cache
def parameters_with_free_keys() -> set[str]:
    return {each.path for task in params.TASKS for each in reference.parameters(task) if each.type == "object"}


@cache
def variables() -> set[str]:
    compose = (ROOT / "infra/compose.yaml").read_text("utf-8")
    return {*environment.YOURS, *environment.INTERNAL, *re.findall(r"\$\{(\w+)", compose)}


def leads_somewhere(page: Page, link: str) -> bool:
    """Another host is not asked. A page of the site may link only to files of the site."""
    if re.match(r"[a-z]+:", link):
        return True
    name, _, anchor = link.partition("#")
    if not name:
        return anchor in page.anchors
    target = (page.path.parent / name).resolve()
    if not target.exists() or (page.path.is_relative_to(DOCS) and not target.is_relative_to(DOCS)):
        return False
    return not anchor or (target.suffix == ".md" and anchor in Page.read(target).anchors)


@pytest.mark.parametrize("path", READ, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_page_names_exists(path):
    assert faults(Page.read(path)) == []


@pytest.mark.parametrize("path", sorted(set(DOCS.rglob("*.md")) - GENERATED), ids=lambda path: path.stem)
def test_a_page_answers_one_question(path):
    assert len(path.read_text("utf-8").splitlines()) <= LONGEST


def test_a_picture_is_shown_and_in_dark_colours_where_it_has_them():
    """<picture> chooses by the reader's colours, on the site as in the repository."""
    pictures = {path.stem for path in (DOCS / "assets").glob("*.png")}
    text = "".join(path.read_text("utf-8") for path in READ)
    assert sorted(name for name in pictures if f"assets/{name}.png" not in text) == []
    for name in (name for name in pictures if f"{name}-dark" in pictures):
        dark = rf'<source media="\(prefers-color-scheme: dark\)" srcset="[./\w]*assets/{name}-dark\.png">\s*<img [^>]*'
        assert len(re.findall(rf"assets/{name}\.png", text)) == len(re.findall(rf"{dark}assets/{name}\.png", text)), (
            name
        )


def test_every_page_stands_in_the_navigation():
    """But decisions, which their index lists."""
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]
    pages = [str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")]
    assert sorted(pages_in(nav)) == sorted(page for page in pages if not re.match(r"decisions/\d", page))


def pages_in(nav: object) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    below = nav.values() if isinstance(nav, dict) else nav
    return [page for each in below for page in pages_in(each)]


@pytest.mark.parametrize("page", PAGES)
def test_a_generated_page_is_what_the_code_says(page):
    assert (ROOT / page).read_text("utf-8") == PAGES[page](), "`make docs` writes it anew"


FROM_ELSEWHERE = r"<(?:script|link|img|iframe|source)\b[^>]*(?:src|srcset|href)=[\"']?(?:https?:)?//[^>]*>"


def test_each_reason_for_which_curation_rejects_a_row_is_explained():
    text = (ROOT / "docs/how-to/data/rejected-rows.md").read_text("utf-8")
    reasons = {reason for facts in task_data.TASKS.values() for reason in facts.curation}
    assert sorted(reason for reason in reasons if f"`{reason}`" not in text) == []


def test_a_page_that_opens_asks_no_other_host(tmp_path):
    """No script, style, font or picture of the site comes from elsewhere; a diagram drawn by a script would."""
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    shutil.copytree(DOCS, tmp_path / "docs")
    subprocess.run([sys.executable, "-m", "zensical", "build", "--strict"], cwd=tmp_path, check=True)
    pages = [path.read_text("utf-8") for path in (tmp_path / "site").rglob("*.html")]
    assert len(pages) > len(list(DOCS.rglob("*.md")))  # 404.html too
    assert [link for page in pages for link in re.findall(FROM_ELSEWHERE, page)] == []
    assert not any('class="mermaid"' in page for page in pages)
    styles = "".join(style.read_text("utf-8") for style in (tmp_path / "site").rglob("*.css"))
    assert re.findall(r"@import[^;]*|url\(['\"]?(?:https?:)?//[^)]*", styles) == []


GOOD = """
`flows/cli/main.py` `params.yaml` `main.py` `tasks/train/*.py` `org/name` `retune run` `train.epochs` `RETUNE_POOL`
[log](DECISIONS.md) [a part](#a-title)

# A title

```sh
make setup WORKERS=2
retune ingest own.csv --text body && retune run -S train.epochs=3 \\
    --name tickets   # a comment, with `retune fly`
RETUNE_POOL=mine retune schedule set "0 2 * * 1" | head
python -m tasks.split a b c
python bench/year.py --weeks 2
```

```yaml
fetch:
  sources:
    - kind: files
      columns: {text: body}
```
"""
BAD = (
    "`flows/nothing.py`",
    "`gone.yaml`",
    "`retune/gone`",
    "`retune fly`",
    "`retune schedule fly`",
    "`retune run --fly`",
    "`retune run -S train.epohs=3`",
    "`retune schedule health --verify`",
    "`train.epohs`",
    "`make nothing`",
    "`python -m tasks.gone`",
    "`python bench/gone.py`",
    "`python bench/year.py --fly`",
    "`RETUNE_GONE`",
    "[map](docs/gone.png)",
    "[map](#gone)",
    "[map](CONTRIBUTING.md#gone)",
    '<img src="docs/gone.png">',
    "```sh\nretune fly\n```",
    "```sh\nretune run \\\n    --fly\n```",
    "```sh\ncd x && retune fly\n```",
    "```\nflows/\n  gone.py   what it was\n```",
    "```yaml\nfetch:\n  sorces: []\n```",
)


def test_a_page_whose_names_all_exist_has_no_faults():
    assert faults(Page(ROOT / "PAGE.md", GOOD)) == []


@pytest.mark.parametrize("bad", BAD)
def test_a_page_that_names_something_gone_is_noticed(bad):
    assert len(faults(Page(ROOT / "PAGE.md", bad))) == 1


def test_a_page_of_the_site_links_to_pages_of_the_site_only():
    assert faults(Page(DOCS / "index.md", "[a](glossary.md) [b](../params.yaml)")) == ["link to ../params.yaml"]
