"""Rebuild a registered version in an empty folder, and say what that proves.

    retune reproduce classifier/7 --into rebuilt

From the recorded commit, the raw bytes and the base, and from nothing else: the clone has a cache of its own, every
stage runs by force, and no earlier run of a stage is taken for this one. The user's checkout, index, refs and cache
are only read. What comes out is compared with the record: curated rows, sides and model folder by DVC's hash, weights
by sha256. If only the weights differ, as they may on another kind of machine, the scores are compared.
A version that continued from another needs that one's model and sides as well: they come out of the store by their
hashes. Whether those can be rebuilt too is the same question, asked of that version.

Not covered: another Python than this one, and another build of the same torch. It reports both, and fetches neither.
"""

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from flows.execution import dvc, locked_packages
from retune.errors import Broken, Refused, WrongUse
from retune.lineage import parent_version
from retune.lineage.check import Check
from retune.lineage.record import Record
from retune.system import dvc_pipeline, dvc_store, git
from retune.system.files import file_md5, file_sha256

Say = Callable[[str], None]

RAW, MODEL, SCORES = "data/raw", "models/candidate", "models/reports/evaluate.json"
CURATED = ("data/curated/rows.parquet", "data/curated/general.parquet")
DATA = (RAW, *CURATED, *(f"data/splits/{side}.parquet" for side in ("train", "val", "test")))
MISSING = "missing"
BITS, SAME_SCORES, NOTHING = "bit-identical", "metrics within tolerance", "nothing"
# Variables that would make git, DVC or Python leave the clone for the user's checkout.
ASTRAY = re.compile(
    r"GIT_(DIR|WORK_TREE|INDEX_FILE|COMMON_DIR|PREFIX|NAMESPACE|\w*OBJECT\w*)|DVC_\w+|PYTHON(SAFE)?PATH"
)
LOOK_AROUND = """\
import importlib.util, json, platform
spec = importlib.util.find_spec("tasks")
report = {"tasks": spec.origin if spec else None, "python": platform.python_version(), "platform": platform.platform()}
try:
    import torch
except ImportError:
    pass
else:
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    report |= {"torch": torch.__version__, "threads": torch.get_num_threads(), "device": name}
print(json.dumps(report))
"""


@dataclass(frozen=True)
class Reproduced:
    ok: bool
    proved: str  # BITS, SAME_SCORES or NOTHING
    environment: str  # of the rebuild, and how it differs from the recorded one
    compared: list[Check]  # the comparisons behind the answer


def reproduce(version: str, record: Record, into: Path, tolerance: float, say: Say = print) -> Reproduced:
    """Rebuild the version of `record` in the empty folder `into`, and compare. Call it inside the checkout.

    Raises WrongUse if `into` is not empty or part of the checkout, Refused if the commit or raw bytes are gone.
    """
    into = into.absolute()
    commit, raw = record["code"]["record_commit"], record["pipeline"]["hashes"][RAW]
    check_target(into)
    check_commit(commit, version)
    objects, begins = stored(RAW, raw), parent_version.of_record(record)
    say(f"{version}: {commit[:12]} and {len(objects) - 1} raw files go to {into}")
    if begins:
        objects = list(dict.fromkeys([*objects, *start_objects(begins)]))
        say(f"{version} continued from {begins.name}: its model and splits go there too")
    clone(commit, into)
    if wrong := inputs(record, into):
        return Reproduced(False, NOTHING, "the recorded commit differs from the record, so nothing was run", wrong)
    copy_objects(objects, into)
    bring_base(record, into)
    python, note = interpreter(into, say)
    env, notes = surroundings(python, record["environment"], into)
    dvc.rebuild(python, into, env, say)
    parent_notes = (
        [f"The model and splits of {begins.name}, from which it continued, came from the store."] if begins else []
    )
    return compare_with_record(record, into, tolerance, " ".join([note, *notes, *parent_notes]))


def check_target(into: Path) -> None:
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise WrongUse(f"{into} is not empty: name an empty folder, or one that does not exist yet")
    checkout = Path(git.output("rev-parse", "--show-toplevel", env=_git_env()))
    ignored = git.succeeds("check-ignore", "-q", str(into), cwd=checkout, env=_git_env())
    if into.resolve().is_relative_to(checkout.resolve()) and not ignored:
        raise WrongUse(f"{into} is inside your checkout, which must stay unchanged: name a folder outside of it")


def check_commit(commit: str, version: str) -> None:
    if not git.succeeds("cat-file", "-e", f"{commit}^{{commit}}", env=_git_env()):
        raise Refused(
            f"the recorded commit {commit} of {version} is not in this repository: fetch it from where the version was"
            " registered (it hangs on a tag or below refs/exps)"
        )


def stored(what: str, md5: str) -> list[str]:
    """The hashes of a file or folder and of all its files. Raises Refused if any of their bytes are gone."""
    try:
        hashes = list(dict.fromkeys(digest for _, digest in dvc_store.files(what, md5)))
        for each in hashes:
            dvc_store.open_bytes(each).close()
    except dvc_store.MissingBytes as error:
        raise Refused(f"{what}: bytes gone, hashes kept. {error}; a clone that has them can `dvc push` them") from None
    return hashes


def start_objects(begins: parent_version.ParentVersion) -> list[str]:
    """The hashes of everything that training reads of the parent version."""
    return [each for path, md5 in begins.needed().items() for each in stored(f"{path} of {begins.name}", md5)]


def clone(commit: str, into: Path) -> None:
    """Check out the commit into a clone with git objects and a DVC cache of its own, and without hooks."""
    into.mkdir(parents=True, exist_ok=True)
    env = _git_env()
    origin = git.output("rev-parse", "--path-format=absolute", "--git-common-dir", env=env)
    git.run("init", "--quiet", "--template=", "--initial-branch=reproduced", cwd=into, env=env)
    git.run("config", "core.hooksPath", os.devnull, cwd=into, env=env)
    any_commit = "git -c uploadpack.allowAnySHA1InWant=true upload-pack"
    git.run("fetch", "--quiet", "--no-tags", "--upload-pack", any_commit, origin, commit, cwd=into, env=env)
    git.run("checkout", "--quiet", "--detach", commit, cwd=into, env=env)
    dvc_config = f"[core]\n    autostage = false\n[cache]\n    dir = {_cache(into)}\n"
    (into / ".dvc/config.local").write_text(dvc_config, "utf-8")


def _cache(into: Path) -> Path:
    return into / ".dvc/cache"


def inputs(record: Record, into: Path) -> list[Check]:
    """Files tracked by git whose bytes differ from the record."""
    git_files = set(git.output("ls-files", "-z", cwd=into, env=_git_env()).split("\0"))
    stage_outputs = {
        path for entry in dvc_pipeline.pipeline(into / "dvc.yaml").values() for path in dvc_pipeline.outputs(entry)
    }
    links = [
        Check(path, md5, actual := _md5(into / path), actual == md5)
        for path, md5 in sorted(record["pipeline"]["hashes"].items())
        if path in git_files - stage_outputs or (path.endswith(".py") and not (into / path).exists())
    ]
    return [link for link in [*links, _same(RAW, record["pipeline"]["hashes"][RAW], tracked(into))] if not link.ok]


def tracked(into: Path) -> str:
    """The hash of the raw folder that the commit tracks."""
    pointer = into / f"{RAW}.dvc"
    return yaml.safe_load(pointer.read_text("utf-8"))["outs"][0]["md5"] if pointer.exists() else MISSING


def copy_objects(objects: list[str], into: Path) -> None:
    """Copy bytes into the cache of the clone, and check their hashes on the way."""
    for md5 in objects:
        target = _cache(into) / "files/md5" / md5[:2] / md5[2:]
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.md5(usedforsecurity=False)
        with dvc_store.open_bytes(md5) as source, target.open("wb") as copy:
            while chunk := source.read(dvc_store.CHUNK):
                digest.update(chunk)
                copy.write(chunk)
        if digest.hexdigest() != md5.removesuffix(".dir"):
            raise Refused(f"the bytes of {md5} are damaged: their md5 is {digest.hexdigest()}")
        target.chmod(0o444)


def bring_base(record: Record, into: Path) -> None:
    """Read a base that git does not track from its folder in the checkout; train checks its hash."""
    kind, _, where = record["base"]["name"].partition(":")
    if kind == "folder" and not Path(where).is_absolute() and not (into / where).exists() and Path(where).is_dir():
        (into / where).parent.mkdir(parents=True, exist_ok=True)
        (into / where).symlink_to(Path(where).resolve(), target_is_directory=True)


def interpreter(into: Path, say: Say) -> tuple[Path, str]:
    """This interpreter if its packages are those of the recorded requirements.lock, else a new one with these."""
    differing = locked_packages.unlike_project(into)
    if not differing:
        return Path(sys.executable), "This interpreter: its packages are those of the recorded requirements.lock."
    name, (version, then) = next(iter(sorted(differing.items())))
    more = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
    note = (
        f"A virtual environment made from the recorded requirements.lock: here {name} is {version}, not {then}{more}."
    )
    say(note)
    python = into / ".venv/bin/python"
    env = {**_clean(dvc.environment()), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    dvc.call("reproduce", [sys.executable, "-m", "venv", ".venv"], into, env, say)
    install = ["-m", "pip", "install", "--quiet", "-c", "requirements.lock", "-e", "."]
    try:
        dvc.call("reproduce", [str(python), *install], into, env, say)
    except Broken as error:
        raise Broken(f"the recorded packages cannot be installed here ({name}=={then}{more}): {error}") from None
    return python, note


def surroundings(python: Path, recorded: Mapping[str, Any], into: Path) -> tuple[dict[str, str], list[str]]:
    """The environment of the stages, as near to the recorded one as this machine allows, and what still differs.

    Raises Broken if the stages would import other code than the clone's.
    """
    env = {**_clean(dvc.environment(python)), "PYTHONPATH": str(into), "DVC_NO_ANALYTICS": "1"}
    env["DVC_SITE_CACHE_DIR"] = str(into / ".dvc/tmp/site")  # else DVC would store its state of the clone elsewhere
    if recorded["device"] == "cpu":
        env["CUDA_VISIBLE_DEVICES"] = ""
    current = _look_around(python, env, into)
    if current["tasks"] and not Path(current["tasks"]).resolve().is_relative_to(into.resolve()):
        raise Broken(f"the stages would import {current['tasks']}, not the code of {into}")
    if recorded["threads"] and current.get("threads") != recorded["threads"]:
        # Set only if necessary: other libraries than torch read it too.
        env |= {name: str(recorded["threads"]) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        current = _look_around(python, env, into)  # there may be fewer cores than that
    if current.get("device") == "cpu" and recorded["device"] != "cpu":
        _train_without_gpu(into / "params.yaml")
    return env, differences(recorded, current)


def differences(recorded: Mapping[str, Any], current: dict[str, Any]) -> list[str]:
    names = [name for name in ("python", "platform", "torch", "device", "threads") if name in current]
    others = [f"{name} {current[name]}, then {recorded[name]}" for name in names if current[name] != recorded[name]]
    return [f"Different from then: {'; '.join(others)}."] if others else []


def _clean(env: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if not ASTRAY.fullmatch(name)}


def _look_around(python: Path, env: dict[str, str], into: Path) -> dict[str, Any]:
    lines: list[str] = []
    dvc.call("reproduce", [str(python), "-c", LOOK_AROUND], into, env, lines.append)
    surroundings: dict[str, Any] = json.loads(lines[-1])
    return surroundings


def _train_without_gpu(path: Path) -> None:
    """Rebuild a model of a GPU on the CPU where there is no GPU; then its scores are compared."""
    text = path.read_text("utf-8")
    path.write_text(re.sub(r"(?m)^(  device: *)cuda\b", r"\1auto", text), "utf-8")


def compare_with_record(record: Record, into: Path, tolerance: float, note: str) -> Reproduced:
    """Compare the outputs of the stages in `into` with the record."""
    expected = record["pipeline"]["hashes"]
    hashes = dvc_pipeline.hashes_of(dvc_pipeline.lock(into / "dvc.lock"))
    data = [_same(path, expected[path], hashes.get(path, MISSING)) for path in DATA if path in expected]
    model = [_same(MODEL, expected[MODEL], hashes.get(MODEL, MISSING)), *weights(record["files"], into / MODEL)]
    if all(link.ok for link in [*data, *model]):
        return Reproduced(True, BITS, note, [*data, *model])
    scores = compare_scores(record["scores"]["candidate"], into / SCORES, tolerance)
    if all(link.ok for link in [*data, *scores]):
        other = ", ".join(link.name for link in model if not link.ok)
        return Reproduced(True, SAME_SCORES, f"{note} Not bit-identical: {other}.", [*data, *scores])
    return Reproduced(False, NOTHING, note, [*data, *model, *scores])


def weights(files: dict[str, str], folder: Path) -> list[Check]:
    """Every safetensors file of the model folder against the sha256 of the registered file with the same path."""
    hashes = {path.relative_to(folder).as_posix(): file_sha256(path) for path in sorted(folder.rglob("*.safetensors"))}
    then: dict[str, str] = {}
    for name, sha256 in files.items():
        if name.endswith(".safetensors"):  # artifacts/candidate/adapter/x.safetensors is adapter/x.safetensors here
            ends = [path for path in hashes if name == path or name.endswith(f"/{path}")]
            then[max(ends, key=len, default=name)] = sha256
    return [
        _same(f"{MODEL}/{name}" if name in hashes else name, then.get(name, MISSING), hashes.get(name, MISSING))
        for name in sorted({*hashes, *then})
    ]


def compare_scores(recorded: Mapping[str, Any], report: Path, tolerance: float) -> list[Check]:
    scores = json.loads(report.read_text("utf-8")) if report.exists() else {}
    links = []
    for name in recorded:
        then, now = recorded[name]["value"], scores.get(name)
        near = now is not None and abs(now - then) <= tolerance
        actual = MISSING if now is None else f"{now:.6g}"
        links.append(Check(name, f"{then:.6g} give or take {tolerance:g}", actual, near))
    return links


def _same(name: str, expected: str, actual: str) -> Check:
    return Check(name, expected, actual, expected == actual != MISSING)


def _md5(path: Path) -> str:
    if not path.is_file():
        return MISSING
    return file_md5(path)


def _git_env() -> dict[str, str]:
    return _clean(dvc.environment())
