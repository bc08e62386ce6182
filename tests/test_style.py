"""What CONTRIBUTING says of files, functions and names, kept by reading the code."""

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from tests.support.environment import ROOT

CODE = sorted(file for top in ("retune", "tasks", "flows") for file in (ROOT / top).rglob("*.py"))
PATHS = [str(file.relative_to(ROOT)) for file in CODE]
OF_TESTS = sorted(str(file.relative_to(ROOT)) for top in ("tests", "bench") for file in (ROOT / top).rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION = 400, 60  # lines
PARTICIPLES = re.compile(
    "asked|begun|beside|brought|found|given|gone|heard|held|here|kept|known|laid|left|lost|made|mended|met|own|"
    "parted|said|seen|shown|spoken|taken|theirs|there|told|wanted"
)


@cache
def text_of(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


def faults_of_size(path: str) -> Iterator[str]:
    lines = text_of(path).count("\n")
    if lines > LONGEST_FILE:
        yield f"{lines} lines"
    if re.search(r"^# ?-{8,}", text_of(path), re.MULTILINE):
        yield "a banner: what it heads is a file that was not made"
    for node in ast.walk(ast.parse(text_of(path))):
        if isinstance(node, ast.FunctionDef) and (length := node.end_lineno - node.lineno + 1) > LONGEST_FUNCTION:
            yield f"{node.name} has {length} lines"


def participles_of(path: str) -> list[str]:
    """Fields of classes are left out: they are the keys of files and of --json. `chosen` is a term of the field."""
    tree, stored = ast.parse(text_of(path)), set()
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    fields = {line.target for each in classes for line in each.body if isinstance(line, ast.AnnAssign)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node not in fields:
            stored.add(node.id)
        elif isinstance(node, ast.arg):
            stored.add(node.arg)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            stored.add(node.attr)
    return sorted(name for name in stored if PARTICIPLES.fullmatch(name.strip("_")))


@pytest.mark.parametrize("path", [*PATHS, *OF_TESTS])
def test_a_file_and_its_functions_fit_a_reader(path):
    assert list(faults_of_size(path)) == []


@pytest.mark.parametrize("path", [*PATHS, *OF_TESTS])
def test_a_name_says_what_it_holds(path):
    assert participles_of(path) == []
