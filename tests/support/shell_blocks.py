"""The shell and Python blocks of a page as one script, as a reader would type them one after another.

Comments of a page that no reader sees say what a script cannot do:

    <!-- not run: needs two GPUs -->              before a block that is left out, with the reason
    <!-- follows: tutorials/first-classifier.md -->    at the top of a page that goes on in the clone of another

A line that ends in a comment with "exit code N" must end so. Commands that go on until Ctrl-C get some seconds.
"""

import re
import shlex

from tests.support.pages import ROOT, Block, Page, logical_lines

FOLLOWS = re.compile(r"<!-- follows: (\S+) -->")
EXIT_CODE = re.compile(r"#.*\bexit code (\d+)")
LASTING = re.compile(r"retune (ui|worker)\b")
SECONDS, TIME_IS_UP = 60, 124
ELSEWHERE = ("make test", "make test-slow", "make test-long", "make coverage", "make bench")  # they are what runs this


def script_of(page: Page) -> str:
    """Ends at the first command that fails; says before each block where it stands."""
    before = FOLLOWS.search(page.text)
    lines = [script_of(Page.read(ROOT / "docs" / before[1]))] if before else ["set -e"]
    for block in page.blocks:
        if not block.not_run and (block.is_shell or block.language == "python"):
            lines += [f"echo {shlex.quote(f'::: {page.name}, line {block.line}')}", _code(block)]
    return "\n".join(lines)


def _code(block: Block) -> str:
    if block.language == "python":
        return f"python - <<'END OF PYTHON'\n{block.text}\nEND OF PYTHON"
    return block.text if "<<" in block.text else "\n".join(map(_line, logical_lines(block.text)))


def _line(line: str) -> str:
    command = line.partition(" #")[0].strip()
    if command in ELSEWHERE:
        return ":"
    if LASTING.match(command):
        return _ends_with(f"timeout {SECONDS} {command}", TIME_IS_UP)
    expected = EXIT_CODE.search(line)
    return _ends_with(command, int(expected[1])) if expected else line


def _ends_with(command: str, code: int) -> str:
    return f"code=0; {{ {command}; }} || code=$?; [ $code = {code} ] || {{ echo exit code $code, not {code}; exit 1; }}"
