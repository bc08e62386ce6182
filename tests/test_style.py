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
    "asked|begun|beside|brought|chosen|found|given|gone|heard|held|here|kept|known|laid|left|lost|made|mended|met|own|"
    "parted|said|seen|shown|spoken|taken|theirs|there|told|wanted"
)
STORED = {  # keys of files or of --json, which keep their names
    ("flows/retraining/outcome_report.py", "known"),
    ("flows/services/doctor.py", "found"),
    ("retune/data/finding.py", "found"),
    ("retune/evaluation/human_review.py", "theirs"),
    ("retune/evaluation/human_verdicts.py", "theirs"),
    ("retune/lineage/check.py", "found"),
    ("retune/lineage/record.py", "kept"),
    ("tasks/curate/report.py", "kept"),
    ("tasks/fetch/watermark.py", "seen"),
    ("tasks/forget.py", "known"),
    ("tasks/ingest.py", "known"),
    ("tasks/trace/search.py", "gone"),
    ("tasks/train/parent.py", "gone"),
}
OF_THE_FIELD = {
    ("retune/data/chat_formats.py", "chosen"),  # and rejected: the two answers of a preference
    ("retune/documents/score_charts.py", "left"),  # and right
    ("retune/evaluation/task_metrics.py", "chosen"),
    ("tasks/preflight.py", "left"),
    ("tasks/train/decoder/pairs.py", "chosen"),
    ("tests/support/curation.py", "chosen"),
    ("tests/tasks/train/decoder/test_preference.py", "chosen"),
}


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
    stored = set()
    for node in ast.walk(ast.parse(text_of(path))):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            stored.add(node.id)
        elif isinstance(node, ast.arg):
            stored.add(node.arg)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            stored.add(node.attr)
    return sorted(name for name in stored if PARTICIPLES.fullmatch(name.strip("_")))


@pytest.mark.parametrize("path", [*PATHS, *OF_TESTS])
def test_a_file_and_its_functions_fit_a_reader(path):
    assert list(faults_of_size(path)) == []


def test_a_name_says_what_it_holds():
    participles = {(path, name) for path in [*PATHS, *OF_TESTS] for name in participles_of(path)}
    assert sorted(participles - STORED - OF_THE_FIELD) == []
    assert sorted((STORED | OF_THE_FIELD) - participles) == [], "an exception that nothing needs"
