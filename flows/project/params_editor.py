"""Write single values into params.yaml, as `retune run -S section.key=value` asks; comments and order stay."""

import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from retune.config import params, renames
from retune.errors import WrongUse
from retune.system.files import write_text

SHIPPED = Path("retune/config/defaults")
# YAML 1.1 reads 2e-4 as a word; a person who types it means a number.
POWER_OF_TEN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


def write(settings: Sequence[str], path: Path = Path("params.yaml")) -> None:
    """Write settings of the form `section.key=value`, the value in YAML. All are checked before any is written."""
    if not settings:
        params.load(path)
        return
    _write(_changed(path, settings), path)


def _changed(path: Path, settings: Sequence[str]) -> str:
    """The text of the file with the settings."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 4096
    editor.representer.add_representer(float, _plain_float)
    editor.representer.add_representer(type(None), _null)  # its own writes nothing, and changes lines that say null
    try:
        document = editor.load(path.read_text("utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise WrongUse(f"{path} is not YAML: {error}") from None
    if not isinstance(document, dict):
        raise WrongUse(f"{path} has no sections: `git checkout {path}` brings them back")
    renames.refuse_outdated(document, str(path))
    for setting in settings:
        _put(document, setting)
    text = io.StringIO()
    editor.dump(document, text)
    return text.getvalue()


def _null(representer: Any, _value: None) -> Any:
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def _write(text: str, path: Path) -> None:
    params.parse(yaml.safe_load(text))
    write_text(path, text)


def shipped(task: str) -> Path:
    """The parameter file of `task`. Raises WrongUse if there is none."""
    defaults = {file.stem: file for file in sorted(SHIPPED.glob("*.yaml"))}
    if task not in defaults:
        raise WrongUse(
            f"no parameter file for the task {task!r}: write one of {', '.join(defaults)}; the "
            "params.yaml that comes with the repository is for classify, and git brings it back"
        )
    return defaults[task]


def choose(source: Path, values: Mapping[str, Any], path: Path = Path("params.yaml")) -> None:
    """Replace the whole file by `source`, with these values by their dotted paths."""
    settings = [f"{name}={json.dumps(value)}" for name, value in values.items()]
    _write(_changed(source, settings) if settings else source.read_text("utf-8"), path)


def _put(document: Any, setting: str) -> None:
    name, equals, value = setting.partition("=")
    if not equals:
        raise WrongUse(f"-S {setting}: write section.key=value, for example -S train.epochs=5")
    if new := renames.current_name(name.strip()):
        raise WrongUse(f"-S {setting}: `{name.strip()}` is now called `{new}`: write -S {new}={value}")
    section = document
    *parents, key = name.strip().split(".")
    for parent in parents:
        section = section.get(parent) if isinstance(section, dict) else None
    if not isinstance(section, dict) or key not in section or params.is_section(document, name.strip()):
        hint = params.did_you_mean(name, _names(document))
        raise WrongUse(f"-S {setting}: params.yaml has no value {name}{hint}")
    section[key] = _value(value)


def _value(text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise WrongUse(f"not a YAML value: {text!r}") from None
    if isinstance(value, str) and POWER_OF_TEN.fullmatch(value):
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise WrongUse(f"not a finite number: {text!r}")
    if isinstance(value, list):
        from ruamel.yaml.comments import CommentedSeq

        value = CommentedSeq(value)
        value.fa.set_flow_style()  # on one line, as it was
    return value


def _plain_float(representer: Any, value: float) -> Any:
    """Always with a point, so that every YAML reader sees a number: 1.0e-05, not 1e-05."""
    digits, exponent, power = repr(value).partition("e")
    text = f"{digits if '.' in digits else f'{digits}.0'}{exponent}{power}"
    return representer.represent_scalar("tag:yaml.org,2002:float", text)


def _names(section: Any, prefix: str = "") -> list[str]:
    names = []
    for key, value in section.items():
        names += _names(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
    return names
