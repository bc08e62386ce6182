"""Rewrite a params.yaml of an earlier release: old names change, new parameters come in, and all else stays."""

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from retune.config import params, renames
from retune.errors import WrongUse
from retune.system import files

PARAMS = Path("params.yaml")


def migrate(path: Path = PARAMS, write: bool = True) -> list[str]:
    """Give every parameter its present name, and add those that the file lacks. Returns the changes, a sentence each.

    Nothing is written without `write`, or if there is no change. Raises WrongUse, and leaves the file as it is, if
    it cannot be read, has an old and a new name of one parameter, or is wrong in another way.
    """
    params.read(path)  # raises WrongUse if the file is missing or not YAML
    text = path.read_bytes().decode("utf-8")
    document = _load(text, path)
    changes = renames.outdated(document)
    migrated = _renamed(text, document, path) if changes else text
    for section, lines in _by_section(renames.added(str(document.get("task")))).items():
        migrated, names = _with_parameters(migrated, section, lines, path)
        changes += [f"added `{name}`" for name in names]
    migrated, added = _with_parameters_of_sources(migrated, path)
    changes += added
    params.parse(yaml.safe_load(migrated))
    if changes and write:
        files.write_bytes(path, migrated.encode("utf-8"))
    return changes


def _by_section(added: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """section -> name -> lines, in the order in which they are given."""
    sections: dict[str, dict[str, str]] = {}
    for name, lines in added.items():
        sections.setdefault(name.rpartition(".")[0], {})[name] = lines
    return sections


def _with_parameters(text: str, section: str, added: Mapping[str, str], path: Path) -> tuple[str, list[str]]:
    """The text with those lines at the end of the section whose parameters the task has and the file lacks."""
    document = _load(text, path)
    names = params.paths(params.type_of(document))
    parent, outer = params.at(document, section), params.at(document, section.rpartition(".")[0]) or document
    missing = [
        name for name in added if name in names and not (isinstance(parent, dict) and name.rpartition(".")[2] in parent)
    ]
    if not missing:
        return text, []
    block = [line for name in missing for line in added[name].splitlines()]
    if parent is None and section.rpartition(".")[2] not in outer:  # a new section: after the one that comes before it
        above = section.rpartition(".")[0]
        earlier = [key for key in outer if f"{above}.{key}".lstrip(".") in names[: names.index(missing[0])]]
        block, section_line = ["", f"{section}:", *(f"  {line}" for line in block)], outer.lc.key(earlier[-1])[0]
        indent = 0
    elif not isinstance(parent, dict | None):
        return text, []
    else:
        section_line, column = outer.lc.key(section.rpartition(".")[2])
        indent = column + 2
    end = "\r\n" if "\r\n" in text else "\n"
    lines = [each if each.endswith("\n") else each + end for each in text.splitlines(keepends=True)]
    at = _end_of_section(lines, section_line)
    return "".join([*lines[:at], *(f"{' ' * indent}{each}".rstrip() + end for each in block), *lines[at:]]), missing


def _with_parameters_of_sources(text: str, path: Path) -> tuple[str, list[str]]:
    """The text with what the sources lack, each before the last key of its section, and the changes."""
    for number, source in enumerate(params.at(_load(text, path), "fetch.sources") or []):
        kind = source.get("kind") if isinstance(source, dict) else None
        for name, value in renames.ADDED_TO_SOURCES.get(str(kind), {}).items():
            section, _, key = name.rpartition(".")
            parent = params.at(source, section) if section else source
            if isinstance(parent, dict) and parent and key not in parent:
                added = _inserted(text, f"{key}: {value}", parent)
                rest, changes = _with_parameters_of_sources(added, path)
                return rest, [f"added `fetch.sources.{number}.{name}`", *changes]
    return text, []


def _inserted(text: str, item: str, parent: Any) -> str:
    """The text with one more item in a mapping of ruamel, in the style of the mapping."""
    end = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines(keepends=True)
    line, column = parent.lc.key([*parent][-1])
    between = ", " if parent.fa.flow_style() else end + " " * column
    lines[line] = lines[line][:column] + item + between + lines[line][column:]
    return "".join(lines)


def _end_of_section(lines: list[str], start: int) -> int:
    """The number of the line after the last one of the section that begins in line `start`, both from 0."""
    end = start + 1
    for number in range(start + 1, len(lines)):
        line = lines[number]
        if line.strip() and not line.lstrip().startswith("#"):
            if _indent(line) <= _indent(lines[start]):
                break
            end = number + 1
    return end


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


@lru_cache(maxsize=2)  # a file that lacks nothing is parsed once
def _load(text: str, path: Path) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        document = YAML().load(text)
    except YAMLError as error:
        raise WrongUse(f"{path} is not YAML: {error}") from None
    if not isinstance(document, dict):
        raise WrongUse(f"{path} has no sections: `git checkout {path}` brings them back")
    return document


def _renamed(text: str, document: Any, path: Path) -> str:
    """The text with each old name replaced in its place. ruamel knows the line and column of each."""
    lines = text.splitlines(keepends=True)
    for line, column, old, new in sorted(_places(document, "", path), reverse=True):
        before, after = lines[line][:column], lines[line][column:]
        name = re.match(rf"([\"']?){re.escape(old)}\1", after)
        if not name:
            raise WrongUse(f"{path}, line {line + 1}: write {new} instead of {old} by hand, and run this again")
        lines[line] = before + _with_column_of_comment(name[0], name[0].replace(old, new), after[name.end() :])
    return "".join(lines)


def _with_column_of_comment(old: str, new: str, rest: str) -> str:
    """The new name and the rest of its line, whose comment stays in its column where there is room."""
    comment = re.search(r"( +)#", rest)
    if not comment:
        return new + rest
    spaces = max(len(comment[1]) + len(old) - len(new), 1)
    return new + rest[: comment.start()] + " " * spaces + rest[comment.end() - 1 :]


def _places(node: Any, prefix: str, path: Path) -> list[tuple[int, int, str, str]]:
    """Line, column, old and new word of everything that has an old name, from 0."""
    places: list[tuple[int, int, str, str]] = []
    position: Any = getattr(node, "lc", None)  # ruamel's, of a mapping or a list
    if isinstance(node, dict):
        for key, value in node.items():
            name = f"{prefix}{key}"
            if name in renames.KEYS:
                new = renames.KEYS[name].rpartition(".")[2]
                if new in node:
                    raise WrongUse(f"{path} has both `{name}` and `{renames.KEYS[name]}`: remove one of them")
                places.append((*position.key(key), str(key), new))
            places += _places(value, f"{name}.", path)
    elif isinstance(node, list):
        words = renames.ITEMS.get(prefix.removesuffix("."), {})
        for index, item in enumerate(node):
            if isinstance(item, str) and item in words:
                places.append((*position.item(index), item, words[item]))
    return places
