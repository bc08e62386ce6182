"""Rewrite a params.yaml that has old names: only the names change, comments, order and layout stay."""

import re
from pathlib import Path
from typing import Any

import yaml

from retune.config import params, renames
from retune.errors import WrongUse
from retune.system import files

PARAMS = Path("params.yaml")


def migrate(path: Path = PARAMS, write: bool = True) -> list[str]:
    """Give every parameter its present name. Returns the changes, a sentence each.

    Nothing is written without `write`, or if nothing has an old name. Raises WrongUse, and leaves the file as it is, if
    it cannot be read, has an old and a new name of one parameter, or is wrong in another way.
    """
    params.read(path)  # raises WrongUse if the file is missing or not YAML
    text = path.read_bytes().decode("utf-8")
    document = _load(text, path)
    changes = renames.outdated(document)
    if changes:
        migrated = _renamed(text, document, path)
        params.parse(yaml.safe_load(migrated))
        if write:
            files.write_bytes(path, migrated.encode("utf-8"))
    else:
        params.parse(yaml.safe_load(text))
    return changes


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
