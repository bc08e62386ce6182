"""Names: registered versions and their aliases, and the bytes behind them."""

import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retune.errors import Broken, Refused, WrongUse
from retune.lineage import checksums, history, record, signing
from retune.lineage.check import Check
from retune.models import base_model
from retune.registry import backend, sqlite_reader
from retune.registry.backend import client
from retune.registry.version import Version as Version  # callers write versions.Version
from retune.registry.version import iso_time
from retune.system import failpoints, locks

DATA = "data"  # tag: what the data did, in a sentence
CHAMPION, CHALLENGER = "champion", "challenger"
HEAD = "history"  # tag of a registered model: number and hash of the last entry of its history
TURN = 1800  # seconds to wait for another run that registers; it scores the champion before
CARRIED = (
    "__init__.py",
    "data/__init__.py",
    "data/messages.py",
    "errors.py",
    "lineage/__init__.py",
    "lineage/check.py",
    "lineage/checksums.py",
    "models/__init__.py",
    "models/attention.py",
    "models/base_model.py",
    "models/causal_lm.py",
    "models/chat_template.py",
    "models/classifier.py",
    "models/decoder.py",
    "models/generation.py",
    "models/loading.py",
    "models/manifest.py",
    "models/packing.py",
    "models/routing.py",
    "system/__init__.py",
    "system/files.py",
)  # code that a version serves with


@contextmanager
def packed(model_folder: Path, requirements: list[str]) -> Iterator[Path]:
    """A scratch folder with the model as MLflow serves it: from code, no pickle. Whoever packs may add files to it."""
    mlflow = backend.opened()
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    package = Path(__file__).parents[1]
    signature = ModelSignature(
        Schema([ColSpec("string", "text")]),
        Schema([ColSpec("string", "label"), ColSpec("double", "confidence"), ColSpec("string", "route")]),
    )
    with backend.scratch() as scratch:
        folder, code = Path(scratch) / "packed", Path(scratch) / "code"
        for file in CARRIED:
            (code / "retune" / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(package / file, code / "retune" / file)
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # an example is missed beside the schema
            mlflow.pyfunc.save_model(
                folder,
                python_model=str(Path(__file__).with_name("pyfunc.py")),
                artifacts={"model": str(model_folder)},
                code_paths=[str(code / "retune")],
                pip_requirements=requirements,
                signature=signature,
            )
        for parent in {file.parent for file in folder.rglob("*.py")}:
            # Whoever loads the version imports its code, and Python would add bytecode to it, which nobody signed
            # and everybody runs. A file of that name leaves it no place.
            (parent / "__pycache__").touch()
        yield folder


def add_version(name: str, run_id: str, packed: Path, tags: dict[str, str], description: str = "") -> Version:
    """Log a packed folder to the run and register it. All tags come with the version, or there is no version."""
    client().log_artifacts(run_id, str(packed), "model")
    failpoints.point("register:logged")
    source = f"{client().get_run(run_id).info.artifact_uri}/model"
    _ensure_model(name)
    failpoints.point("register:named")
    created = client().create_model_version(name, source, run_id=run_id, tags=tags, description=description)
    return _first_of_its_kind(find(name, version=int(created.version)))


def _ensure_model(name: str) -> None:
    """A model of that name, if there is none yet."""
    from mlflow.exceptions import MlflowException

    try:
        client().create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _first_of_its_kind(created: Version) -> Version:
    """The oldest version of a fingerprint; what this run made beside it goes.

    A server that is killed between the deed and its answer is asked again, and does it again; or another machine was
    faster.
    """
    twins = [
        each for each in versions(created.name) if each.tags.get("fingerprint", each) == created.tags.get("fingerprint")
    ]
    first = min(twins, key=lambda version: version.version, default=created)
    for twin in twins:
        if twin != first and twin.run_id == created.run_id:
            client().delete_model_version(twin.name, str(twin.version))
    return first


@contextmanager
def turn() -> Iterator[None]:
    """One run at a time asks what is registered, and registers: else two of one fingerprint make two versions.

    Among all worktrees of a clone. Runs of other machines on the same server are not kept from it (`add_version`).
    """
    with locks.waiting(backend.state() / "register.lock", TURN, "run that registers a model"):
        yield


def versions(name: str | None = None) -> list[Version]:
    """Every version, newest first."""
    existing = sqlite_reader.versions(name)
    if existing is None:
        existing = _ask_client(name)
    return sorted(existing, key=lambda version: (version.created, version.version), reverse=True)


def _ask_client(name: str | None) -> list[Version]:
    from mlflow.exceptions import MlflowException

    try:
        return [
            _version(entity, _aliases(model))
            for model in backend.pages(client().search_registered_models)
            if name in (None, model.name)
            for entity in backend.pages(client().search_model_versions, f"name = '{model.name}'")
        ]
    except MlflowException as error:
        raise Broken(f"{backend.address()} does not tell its versions (`retune doctor` checks): {error}") from None


def _aliases(model: Any) -> dict[int, list[str]]:
    by_version: dict[int, list[str]] = {}
    for alias, version in sorted(model.aliases.items()):
        by_version.setdefault(int(version), []).append(alias)
    return by_version


def _version(entity: Any, aliases: dict[int, list[str]]) -> Version:
    number, created = int(entity.version), iso_time(entity.creation_timestamp)
    return Version(entity.name, number, entity.run_id, created, tuple(aliases.get(number, [])), dict(entity.tags))


def find(name: str, *, version: int | None = None, alias: str | None = None) -> Version:
    """The one version of that number or alias. Raises Refused if there is none."""
    of_name = versions(name)
    for match in of_name:
        if match.version == version or alias in match.aliases:
            return match
    if not of_name:
        names = ", ".join(sorted({each.name for each in versions()}))
        hint = f"those there are: {names}" if names else "`retune run` makes one"
        raise Refused(f"no model {name!r} is registered in {backend.address()}: {hint}")
    what = f"version {version}" if version is not None else f"alias {alias}"
    raise Refused(f"{name} has no {what} in {backend.address()}: `retune models` lists what is there")


def known(name: str, fingerprint: str) -> Version | None:
    """The version of a fingerprint, if there is one."""
    return next((version for version in versions(name) if version.tags.get("fingerprint") == fingerprint), None)


def champion(name: str) -> Version | None:
    return next((version for version in versions(name) if CHAMPION in version.aliases), None)


def resolve(reference: str) -> Version:
    """NAME@ALIAS or NAME/VERSION."""
    name, at, alias = reference.partition("@")
    if at and name and alias:
        return find(name, alias=alias)
    name, slash, number = reference.rpartition("/")
    if slash and name and number.isascii() and number.isdigit():
        return find(name, version=int(number))
    raise WrongUse(f"{reference!r} names no model: write NAME@ALIAS or NAME/VERSION, for example classifier@champion")


def metrics(version: Version) -> dict[str, float]:
    """The scores of its run, without learning curves and system metrics."""
    from mlflow.exceptions import MlflowException

    try:
        values = client().get_run(version.run_id).data.metrics
        return {name: value for name, value in values.items() if "/" not in name}
    except MlflowException:  # somebody deleted the run
        return {}


def version_folder(version: Version) -> Path:
    """A local folder with all that a version holds, as it is in the store now.

    What a server hands out stays for as long as this process lives.
    """
    if folder := sqlite_reader.folder(version):
        return folder
    backend.opened()
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        return Path(download_artifacts(version.uri, dst_path=str(_cleared(version))))
    except (MlflowException, OSError) as error:
        raise Broken(f"the bytes of {version} cannot be had from {backend.address()}: {error}") from None


def _cleared(version: Version) -> Path:
    """Where to put a version that a server hands out. The copy that was there goes: it may be out of date, and a
    process that asks often would fill the disk."""
    place = backend.lasting_scratch(backend.state()) / f"{version.name}-{version.version}"
    if place.exists():
        shutil.rmtree(place)
    return place


def checked_folder(version: Version) -> Path:
    """`version_folder`, refused if a file of it was changed, added or lost, or its signature does not fit."""
    folder = version_folder(version)
    links = integrity(version, folder)
    if wrong := [link for link in links if not link.ok]:
        differences = "; ".join(f"{link.name}: recorded {link.expected}, found {link.found}" for link in wrong[:5])
        raise Refused(f"{version} is not what was registered, so it is not loaded: {differences}")
    return folder


def integrity(version: Version, folder: Path) -> list[Check]:
    """Every file of a version against its seal, and its signature against its signer."""
    trusted = os.environ.get("RETUNE_PUBLIC_KEY")
    signer = version.tags.get("signer", signing.UNSIGNED)
    return [
        *checksums.check(folder, version.tags.get("seal", "no seal")),
        signing.check(folder, signer, Path(trusted) if trusted else None),
    ]


def carried_folder(version: Version) -> Path:
    """The model folder of a version, checked. Its base, which it may need, is not: another server has that."""
    (folder,) = (checked_folder(version) / "artifacts").iterdir()  # under the name it was added by
    return folder


def model_folder(version: Version) -> Path:
    """The model folder of a version, checked, and its base with it; downloaded if the store is away."""
    folder = carried_folder(version)
    whole = folder.parents[1]
    version_record = record.read(whole / record.FILE)
    if version_record["training"]["method"] != "full":  # which carries all that it needs
        hashes_now = base_model.hashes(base_model.find(version_record["base"]["name"]))
        for name, sha256 in version_record["base"]["files"].items():
            if hashes_now.get(name) != sha256:
                raise Refused(
                    f"{version} needs the base {version_record['base']['name']} as it was: {name} has sha256 "
                    f"{hashes_now.get(name, 'none, it is missing')}, recorded is {sha256}"
                )
    return folder


def tag_version(version: Version, tags: dict[str, str]) -> None:
    """Set tags in their order: after a crash in between, the last one is missing."""
    for key, value in tags.items():
        client().set_model_version_tag(version.name, str(version.version), key, value)


def set_alias(version: Version, alias: str) -> None:
    """Raises Refused if somebody has deleted the version."""
    find(version.name, version=version.version)
    client().set_registered_model_alias(version.name, alias, str(version.version))


def drop_alias(version: Version, alias: str) -> None:
    """Take `alias` away if this version has it."""
    if alias in find(version.name, version=version.version).aliases:
        client().delete_registered_model_alias(version.name, alias)


def anchor(chain: history.Chain) -> bool:
    """Store the head of a model's history in the registry, though the model may have no version yet.

    Returns whether it was not stored yet. Raises Refused if the history lacks what was stored before.
    """
    head = heads().get(chain.model)
    history.must_hold(chain, head)
    if chain.head == (head or history.START):
        return False
    _ensure_model(chain.model)
    client().set_registered_model_tag(chain.model, HEAD, chain.head)
    return True


def heads() -> dict[str, str]:
    """Model -> head of its history, as `anchor` stored it."""
    existing = sqlite_reader.tags_of_models(HEAD)
    if existing is not None:
        return existing
    models = backend.pages(client().search_registered_models)
    return {model.name: model.tags[HEAD] for model in models if HEAD in model.tags}
