"""A page of the documentation, taken apart: its prose, its code, and the commands, parameters and links in it."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(
    r"^(?P<indent> *)(?P<mark>```+|~~~+)(?P<language>[\w-]*)[^\n]*\n(?P<body>.*?)^(?P=indent)(?P=mark)$", re.M | re.S
)
NOT_RUN = re.compile(r"<!-- not run: (?P<reason>[^\n]+?) -->\s*$")
SHELL = ("sh", "bash", "shell", "console")
SEPARATORS = ("&&", "||", "|", ";", ">", ">>", "<", "2>", "&", ")", "(")


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    language: str
    text: str
    line: int  # of the page, on which its fence opens
    not_run: str | None  # why nothing runs it, if a comment before the fence says so

    @property
    def is_shell(self) -> bool:
        return self.language in SHELL


@dataclass(frozen=True)
class Page:
    path: Path
    text: str

    @classmethod
    def read(cls, path: Path) -> "Page":
        return cls(path, path.read_text("utf-8"))

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @cached_property
    def blocks(self) -> list[Block]:
        blocks_found = []
        for fence in FENCE.finditer(self.text):
            before = self.text[: fence.start()]
            reason = NOT_RUN.search(before)
            lines = [line.removeprefix(fence["indent"]) for line in fence["body"].splitlines()]
            blocks_found.append(
                Block(fence["language"], "\n".join(lines), before.count("\n") + 1, reason and reason["reason"])
            )
        return blocks_found

    @cached_property
    def prose(self) -> str:
        return FENCE.sub("", self.text)

    @cached_property
    def spans(self) -> list[str]:
        return [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", self.prose)]

    @cached_property
    def commands(self) -> list[list[str]]:
        """The words of every command that a code span or a block shows, without what a shell takes."""
        lines = [line for block in self.blocks if block.language in (*SHELL, "") for line in logical_lines(block.text)]
        return [words for line in (*self.spans, *lines) for words in commands_of(line)]

    @cached_property
    def anchors(self) -> set[str]:
        titles = re.findall(r"^#+ +(.+?) *#*$", self.prose, re.M)
        return {slug(title, collapse) for title in titles for collapse in (True, False)}

    @cached_property
    def links(self) -> list[str]:
        text = re.sub(r"`[^`]*`", "", self.prose)
        return re.findall(r"\]\(<?([^)\s>]+)", text) + re.findall(r"(?:src|srcset|href)=\"([^\"]+)\"", text)


def slug(title: str, collapse: bool) -> str:
    """The anchor of a heading: as the site makes it, or as a repository's host does."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).replace("`", "")
    text = re.sub(r"[^\w\s-]", "", text).strip().lower()
    return re.sub(r"[-\s]+" if collapse else r"\s", "-", text)


def logical_lines(text: str) -> list[str]:
    """The lines of a shell block, those that a backslash continues joined, without prompts."""
    return [line.strip().removeprefix("$ ") for line in re.sub(r"\\\n\s*", " ", text).splitlines()]


def commands_of(line: str) -> Iterator[list[str]]:
    """A shell line's commands, each as its words. What no shell reads, such as a sketch, is split at blanks."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        tokens = list(lexer)
    except ValueError:
        tokens = line.split()
    words: list[str] = []
    for token in (*tokens, ";"):
        if token in SEPARATORS or set(token) <= set("();<>|&"):
            if words:
                yield words
            words = []
        else:
            words.append(token)
