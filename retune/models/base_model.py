"""The pretrained base that a model starts from: its folder and the hashes of its files. Adapter of the hub."""

import hashlib
import importlib.metadata
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from retune.errors import Broken, WrongUse
from retune.system.files import file_sha256

LICENCES = ("LICENSE*", "LICENCE*")
NOT_STATED = "not stated"
FILES = ("*.json", "*.txt", "*.safetensors", "*.model")  # the files of a base that a model is loaded from


def find(name: str, fetch: bool = True) -> Path:
    """The folder of a base named `package:…`, `folder:…` or `hub:…@revision`. Only the last may use the network.

    Raises Broken if nothing may be fetched and the base is not on this machine.
    """
    kind, _, where = name.partition(":")
    if kind == "package":
        return _in_package(where)
    if kind == "folder":
        return _checked(Path(where), name)
    if kind == "hub":
        repository, _, revision = where.rpartition("@")
        return _from_hub(repository, revision, fetch)
    raise WrongUse(f"train.base.name is {name!r}: write package:…, folder:… or hub:<name>@<revision>")


def _in_package(package: str) -> Path:
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        raise WrongUse(f"the base package:{package} is not installed: pip install {package}") from None
    for file in files:
        if file.name == "model.safetensors":
            return _checked(Path(str(file.locate())).parent, f"package:{package}")
    raise WrongUse(f"the package {package} has no model.safetensors")


def _from_hub(repository: str, revision: str, fetch: bool) -> Path:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import snapshot_download

    try:
        patterns = [*FILES, "README.md", *LICENCES]
        folder = snapshot_download(repository, revision=revision, allow_patterns=patterns, local_files_only=not fetch)
    except Exception as error:  # the hub's client raises a dozen kinds; all mean that there is no base
        raise Broken(f"the hub did not give {repository} at {revision}: {error}") from None
    return _checked(Path(folder), f"hub:{repository}@{revision}")


def _checked(folder: Path, name: str) -> Path:
    if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        raise WrongUse(f"the base {name} has no config.json with *.safetensors in {folder}")
    return folder


def weights_sha256(folder: Path) -> str:
    """The sha256 of model.safetensors; for several shards that of their lines `sha256  name`, ordered by name."""
    shards = sorted(folder.glob("*.safetensors"))
    if len(shards) == 1:
        return file_sha256(shards[0])
    lines = "".join(f"{file_sha256(shard)}  {shard.name}\n" for shard in shards)
    return hashlib.sha256(lines.encode()).hexdigest()


def hashes(folder: Path) -> dict[str, str]:
    """name -> sha256 of every file that a model is loaded from."""
    return {file.name: file_sha256(file) for file in sorted(file for pattern in FILES for file in folder.glob(pattern))}


def revision(name: str) -> str:
    """The hub's revision or the package's version; empty for a folder."""
    kind, _, where = name.partition(":")
    if kind == "package":
        return importlib.metadata.version(where)
    return where.rpartition("@")[2] if kind == "hub" else "none"


def licence(name: str, folder: Path) -> str:
    """What the package, or the files beside the weights, state about the base's licence; never a guess."""
    kind, _, package = name.partition(":")
    if kind == "package":
        metadata = importlib.metadata.metadata(package).json
        declared = metadata.get("license_expression") or metadata.get("license") or "no licence"
        lines = str(metadata.get("description", "")).splitlines()
        more = [line for line in lines if "weights are distributed" in line]
        return " ".join([f"The package declares {declared}.", *more])
    statements = [*_of_card(folder / "README.md"), *_of_files(folder)]
    return " ".join(statements) or f"{NOT_STATED}: look it up where the base comes from"


def licence_here(name: str) -> str:
    """The same without fetching the base; says so if it is not on this machine."""
    try:
        return licence(name, find(name, fetch=False))
    except (WrongUse, Broken) as error:
        if name.startswith("hub:"):
            return "not known yet: the base is not on this machine; `retune preflight` fetches it and shows it"
        return f"not known: {error}"


def _of_card(card: Path) -> Iterator[str]:
    """The licence in the front matter of a model card, as the hub reads it."""
    import yaml

    parts = card.read_text("utf-8", "replace").split("---", 2) if card.is_file() else []
    try:
        head = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else None
    except yaml.YAMLError:
        head = None
    if isinstance(head, dict) and head.get("license"):
        named = [head.get(key) for key in ("license", "license_name", "license_link")]
        yield f"Its model card says {', '.join(_words(value) for value in named if value)}."


def _words(value: Any) -> str:
    return " ".join((" and ".join(map(str, value)) if isinstance(value, list) else str(value)).split())


def _of_files(folder: Path) -> Iterator[str]:
    for file in sorted({file for pattern in LICENCES for file in folder.glob(pattern)}):
        first = next(
            (line.strip() for line in file.read_text("utf-8", "replace").splitlines() if line.strip()), "nothing"
        )
        yield f"Its file {file.name} begins: {first[:100]}."
