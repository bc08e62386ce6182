"""Against a real registry in a SQLite file; each test has models and experiments of its own name."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import psutil
import pytest

from tasks.core import history, model, registry, sums
from tasks.core.errors import Broken, Refused, WrongUse

ROOT = Path(__file__).parent.parent.parent.parent
TEXTS = ["my invoice was charged", "the courier lost the box", "broken screen", ""]

pytestmark = pytest.mark.usefixtures("store")


@pytest.fixture(scope="module")
def names():
    """A name nobody has had."""
    return iter(f"model-{number}" for number in range(1000))


@pytest.fixture
def add(names, tmp_path):
    """Register a version of a folder with one file; which folder matters only to those who load it."""
    folder = tmp_path / "packed"
    folder.mkdir()
    (folder / "model.json").write_text("{}")

    def make(name, fingerprint="f", content=folder, **tags):
        with registry.run(name, "run", {}) as run_id:
            return registry.add_version(name, run_id, content, {"fingerprint": fingerprint, **tags})

    return make


def run_of(run_id):
    return registry.client().get_run(run_id)


def start(program, folder):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", program], cwd=folder, env=env, stdout=subprocess.PIPE, text=True)


# ---------------------------------------------------------------- runs


def test_a_run_ends_with_its_true_status(names):
    name = next(names)
    with registry.run(name, "fine", {"kind": "a"}) as fine:
        assert run_of(fine).info.status == "RUNNING"
    with pytest.raises(ZeroDivisionError), registry.run(name, "failed", {}) as failed:
        raise ZeroDivisionError
    with pytest.raises(KeyboardInterrupt), registry.run(name, "killed", {}) as killed:
        raise KeyboardInterrupt
    assert [run_of(each).info.status for each in (fine, failed, killed)] == ["FINISHED", "FAILED", "KILLED"]
    assert run_of(fine).data.tags["kind"] == "a"


def test_a_run_whose_process_was_killed_is_ended_by_the_next_and_one_that_lives_is_not(names, store):
    name = next(names)
    program = (
        "import time; from tasks.core import registry\n"
        f"with registry.run({name!r}, 'lost', {{}}) as run_id: print(run_id, flush=True); time.sleep(600)"
    )
    process = start(program, store)
    try:
        lost = process.stdout.readline().strip()
        experiment = run_of(lost).info.experiment_id
        assert registry.close_orphans(experiment) == [], "its process still lives"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert run_of(lost).info.status == "RUNNING", "kill -9 leaves it so"
    with registry.run(name, "next", {}) as following:
        assert run_of(lost).info.status == "KILLED"
        assert run_of(following).info.status == "RUNNING"
        assert registry.close_orphans(experiment) == []
    assert "ended_by" in run_of(lost).data.tags


def test_a_run_of_another_machine_is_nobodys_orphan_here(names):
    name = next(names)
    with registry.run(name, "here", {}) as run_id:
        registry.set_tags(run_id, {"process": "another-host 1@0"})
        assert registry.close_orphans(run_of(run_id).info.experiment_id) == []


def test_a_curve_is_completed_and_nothing_is_logged_twice(names):
    points = pd.DataFrame({"step": [1, 2, 3], "train_loss": [0.9, 0.8, 0.7], "val_loss": [np.nan, np.nan, 0.6]})
    with registry.run(next(names), "curve", {}) as run_id:
        registry.log_progress(run_id, 1, {"train_loss": 0.9})  # seen live
        for _ in range(2):
            registry.log_curve(run_id, points)
        losses = registry.client().get_metric_history(run_id, "curves/train_loss")
        assert [(point.step, point.value) for point in losses] == [(1, 0.9), (2, 0.8), (3, 0.7)]
        assert [point.step for point in registry.client().get_metric_history(run_id, "curves/val_loss")] == [3]


def test_params_are_flat_whatever_their_number(names):
    many = {f"p{number}": number for number in range(150)}
    with registry.run(next(names), "params", {}) as run_id:
        registry.log_params(run_id, {"train": {"lora": {"rank": 16}}, "many": many})
    logged = run_of(run_id).data.params
    assert logged["train.lora.rank"] == "16"
    assert logged["many.p149"] == "149"


def test_a_dataset_carries_the_digest_of_dvc(names):
    with registry.run(next(names), "data", {}) as run_id:
        registry.log_dataset(run_id, "train", Path("data/splits/train.parquet"), "0123abcd", "training")
    (used,) = run_of(run_id).inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("train", "0123abcd")
    assert {tag.key: tag.value for tag in used.tags} == {"mlflow.data.context": "training"}


# ---------------------------------------------------------------- versions


def test_a_version_is_found_by_number_alias_and_fingerprint_and_only_by_its_own(names, add):
    name, other = next(names), next(names)
    first, second = add(name, "aa"), add(name, "bb")
    add(other, "cc")
    registry.set_alias(second, registry.CHAMPION)
    assert (first.version, second.version) == (1, 2)
    assert registry.find(name, version=1) == first
    assert registry.known(name, "bb").version == 2
    assert registry.resolve(f"{name}@champion").version == 2
    assert registry.resolve(f"{name}/1") == first
    assert registry.champion(name).version == 2
    assert registry.champion(other) is None
    assert [version.version for version in registry.versions(name)] == [2, 1]
    assert {version.name for version in registry.versions()} >= {name, other}


def test_what_is_not_there_is_refused_by_what_was_asked_for(names, add):
    name = next(names)
    add(name, "aa")
    for asked, told in {f"{name}/7": "version 7", f"{name}/0": "version 0", f"{name}@prod": "alias prod"}.items():
        with pytest.raises(Refused, match=f"{name} has no {told}"):
            registry.resolve(asked)
    assert registry.known(name, "zz") is None
    with pytest.raises(Refused, match="nobody has no alias champion"):
        registry.resolve("nobody@champion")


@pytest.mark.parametrize("reference", ["", "name", "name/", "/1", "name/latest", "name@", "@champion", "name/-1"])
def test_a_reference_that_names_no_version_is_wrong_use(reference):
    with pytest.raises(WrongUse, match="write NAME@ALIAS or NAME/VERSION"):
        registry.resolve(reference)


def test_an_alias_moves_and_goes(names, add):
    name = next(names)
    first, second = add(name, "aa"), add(name, "bb")
    registry.set_alias(first, registry.CHAMPION)
    registry.set_alias(second, registry.CHAMPION)
    assert registry.champion(name).version == 2
    registry.drop_alias(first, registry.CHAMPION)
    assert registry.champion(name).version == 2, "it was not the first one's to lose"
    registry.drop_alias(second, registry.CHAMPION)
    assert registry.champion(name) is None


def test_the_scores_of_a_version_are_those_of_its_run_without_its_curves(names, add):
    version = add(next(names))
    registry.log_metrics(version.run_id, {"macro_f1": 0.91})
    registry.log_progress(version.run_id, 10, {"val_macro_f1": 0.5})
    assert registry.metrics(version) == {"macro_f1": 0.91}


def test_tags_are_added_to_those_a_version_came_with(names, add):
    version = add(next(names), "aa", method="lora")
    registry.tag_version(version, {"decision": "held"})
    found = registry.find(version.name, version=version.version)
    assert found.tags == {"fingerprint": "aa", "method": "lora", "decision": "held"}


def test_the_address_is_below_this_folder_unless_the_environment_says_otherwise(store, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert registry.address() == f"sqlite:///{store}/.retune/mlflow.db"
    assert registry.artifact_root() == f"file://{store}/.retune/artifacts"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert registry.address() == "http://127.0.0.1:5000"
    assert registry.artifact_root() is None


@pytest.fixture
def sealed(names, add, model_folder):
    """A version as it is registered: packed and sealed; and its folder in the store."""

    def make():
        with registry.packed(model_folder, ["pandas"]) as folder:
            version = add(next(names), content=folder, seal=sums.write(folder))
        return version, registry.version_folder(version)

    return make


def test_a_version_says_the_same_in_a_clean_process_with_its_own_code_and_no_pickle(sealed, model_folder, store):
    version, _ = sealed()
    here = model.load(model_folder, "cpu").predict(TEXTS)
    with registry.clean_process() as reader:
        there = registry.predict_in_clean_process(reader, version, TEXTS)
    assert there["label"].tolist() == here.labels
    assert there["confidence"].to_numpy() == pytest.approx(here.confidence, abs=1e-6)

    root = Path(run_of(version.run_id).info.artifact_uri.removeprefix("file://"))
    assert root.is_relative_to(store / ".retune" / "artifacts")
    packed = {file.relative_to(root) for file in root.rglob("*") if file.is_file()}
    assert {file.suffix for file in packed} <= {".json", ".safetensors", ".txt", ".py", ".yaml", ""}
    plain = {"MLmodel", "SHA256SUMS", "__pycache__", "registered_model_meta"}
    assert {file.name for file in packed if not file.suffix} <= plain
    code = [file for file in packed if file.is_relative_to("model/code") and file.name != "__pycache__"]
    assert {str(file.relative_to("model/code")) for file in code} == {f"tasks/{name}" for name in registry.CARRIED}
    (folder,) = (registry.checked_folder(version) / "artifacts").iterdir()
    again = model.load(folder, "cpu").predict(TEXTS)
    assert again.labels == here.labels


LOAD = "import sys, mlflow; mlflow.set_tracking_uri(sys.argv[1]); mlflow.pyfunc.load_model(sys.argv[2])"


def test_a_version_that_others_have_loaded_is_still_as_it_was_registered(sealed, store):
    """Python would write bytecode beside the code that it imports, and MLflow writes a file of its own."""
    version, folder = sealed()
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [sys.executable, "-c", LOAD, registry.address(), version.uri]
    done = subprocess.run(command, cwd=store, env=plain, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (folder / "registered_model_meta").exists()
    assert list(folder.rglob("*.pyc")) == []
    assert registry.checked_folder(version) == folder


@pytest.mark.parametrize("change", ["changed", "added", "missing", "resealed", "unsealed"])
def test_a_version_that_is_not_what_was_registered_is_not_loaded_and_the_file_is_named(sealed, change):
    version, folder = sealed()
    weights = folder / "artifacts" / "model" / "head.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    named = weights.name
    if change in ("changed", "resealed"):
        weights.write_bytes(content)
    elif change == "added":
        named = "extra.py"
        weights.with_name(named).write_text("print('hello')")
    elif change == "missing":
        weights.unlink()
    if change in ("resealed", "unsealed"):
        named = sums.FILE
        sums.write(folder) if change == "resealed" else (folder / named).unlink()
    with pytest.raises(Refused, match=f"(?s)not what was registered.*{named}"):
        registry.checked_folder(version)


@pytest.mark.parametrize("file", ["head.safetensors", "serving.py"])
def test_a_changed_version_is_not_served_by_plain_mlflow_either(sealed, file):
    version, folder = sealed()
    (path,) = folder.rglob(file)
    path.write_bytes(path.read_bytes() + b"\n")
    with registry.clean_process() as reader, pytest.raises(Broken, match=f"{file} is not what was registered"):
        registry.predict_in_clean_process(reader, version, TEXTS)


def test_the_last_entry_of_the_history_is_kept_with_the_model(names, add):
    name = next(names)
    assert name not in registry.heads()
    add(name)
    entry = history.Entry(3, "tag", "champion", name, 1, "now", "me", (), {}, "none", "5" * 64, "c" * 40)
    registry.anchor(entry)
    assert registry.heads()[name] == f"3 {'5' * 64}"


def test_the_last_entry_is_kept_also_of_a_model_that_has_no_version_yet(names, add):
    name = next(names)
    entry = history.Entry(1, "tag", "decided", name, 0, "2026-01-01", "me", (), {}, "none", "5" * 64, "c")
    registry.anchor(entry)
    assert registry.heads()[name] == entry.head
    assert registry.client().get_registered_model(name).tags == {registry.HEAD: entry.head}
    assert registry.versions(name) == []
    assert add(name).version == 1


def test_our_own_file_is_read_as_mlflow_reads_it(names, add, monkeypatch):
    name = next(names)
    made = [add(name, f"f{number}", note=f"it's {number}") for number in range(4)]
    registry.set_alias(made[0], "champion")
    registry.set_alias(made[2], "challenger")
    registry.set_alias(made[2], "a-third")
    registry.client().delete_model_version(name, "2")
    registry.client().register_prompt(f"{name}-prompt", "a template")
    ours = registry.versions(), registry.versions(name), registry.heads()
    monkeypatch.setattr(registry, "_read", lambda *_: None)
    assert ours == (registry.versions(), registry.versions(name), registry.heads())
    assert [version.version for version in ours[1]] == [4, 3, 1]


def test_a_file_that_is_no_store_is_left_to_mlflow(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_own_store", lambda: tmp_path / "mlflow.db")
    assert registry.versions() == []
    (tmp_path / "mlflow.db").write_text("no database")
    assert registry._read(registry._heads_of, {}) is None


def test_a_decision_is_written_down_without_mlflow(names, add, store):
    name = next(names)
    add(name)
    program = (
        f"from tasks.core import history, registry; history.decide({name!r}, ['nothing to do'], {{}}, registry.anchor)"
        "; import sys; print(sorted({'mlflow', 'torch', 'prefect', 'sqlalchemy'} & set(sys.modules)))"
    )
    for words in (
        ["init", "-q"],
        ["-c", "user.name=A", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"],
    ):
        subprocess.run(["git", *words], cwd=store, check=True)
    assert start(program, store).communicate()[0] == "[]\n"
    assert registry.heads()[name] == history.read(name).last.head


def test_a_clean_process_that_cannot_load_the_version_says_why(names, add):
    version = add(next(names))  # a folder that holds no model
    with registry.clean_process() as reader, pytest.raises(Broken, match="does not load in a clean process"):
        registry.predict_in_clean_process(reader, version, TEXTS)


def test_a_clean_process_ends_with_its_block_even_if_that_fails():
    with pytest.raises(ZeroDivisionError), registry.clean_process() as reader:
        assert reader.poll() is None
        raise ZeroDivisionError
    assert reader.returncode == -signal.SIGKILL


def test_a_clean_process_does_not_outlive_a_killed_parent(store):
    program = (
        "import time; from tasks.core import registry\n"
        "with registry.clean_process() as reader: print(reader.pid, flush=True); time.sleep(600)"
    )
    parent = start(program, store)
    reader = psutil.Process(int(parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs([reader], timeout=5)  # also while it imports
    assert not [each for each in alive if each.status() != psutil.STATUS_ZOMBIE]


# ---------------------------------------------------------------- opening


def test_what_goes_wrong_while_opening_early_is_told_to_who_asks_and_not_printed(monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "carrier-pigeon://loft")
    registry.open_early().join()
    assert capfd.readouterr().err == ""
    with pytest.raises(Exception, match="carrier-pigeon"):
        registry.client()


def test_who_asks_while_the_registry_opens_waits_for_its_tables(tmp_path):
    program = "from tasks.core import registry; registry.open_early(); print(registry.versions())"
    told, _ = start(program, tmp_path).communicate()
    assert told == "[]\n"


def test_the_tables_made_in_memory_are_those_that_mlflow_makes_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    registry.client()
    own, theirs = tmp_path / registry.STATE / "mlflow.db", tmp_path / "theirs.db"
    mlflow.MlflowClient(f"sqlite:///{theirs}").search_experiments()
    assert schema(own) == schema(theirs)
    assert sorted(path.name for path in own.parent.iterdir()) == ["mlflow.db", "scratch"]
    assert list((own.parent / "scratch").iterdir()) == []


def schema(file):
    """Tables and indexes by their words: SQLAlchemy writes constraints in an order that changes from run to run."""
    with closing(sqlite3.connect(file)) as database:
        said = database.execute("select type, name, sql from sqlite_master order by 1, 2").fetchall()
        version = database.execute("select version_num from alembic_version").fetchall()
        return [(kind, name, sorted(re.findall(r"\w+", sql or ""))) for kind, name, sql in said], version


def test_a_store_that_another_process_made_meanwhile_stays(tmp_path):
    registry._make_tables(tmp_path / "mlflow.db")
    before = (tmp_path / "mlflow.db").stat()
    registry._make_tables(tmp_path / "mlflow.db")
    assert (tmp_path / "mlflow.db").stat().st_ino == before.st_ino
