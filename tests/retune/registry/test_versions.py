import os
import subprocess
import sys
from dataclasses import replace

import pytest

from retune.errors import Refused, WrongUse
from retune.lineage import checksums, history
from retune.registry import backend, runs, versions

LOAD = "import sys, mlflow; mlflow.set_tracking_uri(sys.argv[1]); mlflow.pyfunc.load_model(sys.argv[2])"

pytestmark = pytest.mark.usefixtures("sqlite_registry")


def test_a_version_is_found_by_number_alias_and_fingerprint_and_only_by_its_own(model_names, add_version):
    name, other = next(model_names), next(model_names)
    first, second = add_version(name, "aa"), add_version(name, "bb")
    add_version(other, "cc")
    versions.set_alias(second, versions.CHAMPION)
    assert (first.version, second.version) == (1, 2)
    assert versions.find(name, version=1) == first
    assert versions.known(name, "bb").version == 2
    assert versions.resolve(f"{name}@champion").version == 2
    assert versions.resolve(f"{name}/1") == first
    assert versions.champion(name).version == 2
    assert versions.champion(other) is None
    assert [version.version for version in versions.versions(name)] == [2, 1]
    assert {version.name for version in versions.versions()} >= {name, other}


def test_what_is_not_there_is_refused_by_what_was_asked_for(model_names, add_version):
    name = next(model_names)
    add_version(name, "aa")
    for name_asked, message in {
        f"{name}/7": "version 7",
        f"{name}/0": "version 0",
        f"{name}@prod": "alias prod",
    }.items():
        with pytest.raises(Refused, match=f"{name} has no {message}"):
            versions.resolve(name_asked)
    assert versions.known(name, "zz") is None
    with pytest.raises(Refused, match=f"no model 'nobody' is registered in .*: those there are: .*{name}"):
        versions.resolve("nobody@champion")


@pytest.mark.parametrize("reference", ["", "name", "name/", "/1", "name/latest", "name@", "@champion", "name/-1"])
def test_a_reference_that_names_no_version_is_wrong_use(reference):
    with pytest.raises(WrongUse, match="write NAME@ALIAS or NAME/VERSION"):
        versions.resolve(reference)


def test_an_alias_moves_and_goes(model_names, add_version):
    name = next(model_names)
    first, second = add_version(name, "aa"), add_version(name, "bb")
    versions.set_alias(first, versions.CHAMPION)
    versions.set_alias(second, versions.CHAMPION)
    assert versions.champion(name).version == 2
    versions.drop_alias(first, versions.CHAMPION)
    assert versions.champion(name).version == 2, "it was not the first one's to lose"
    versions.drop_alias(second, versions.CHAMPION)
    assert versions.champion(name) is None


def test_the_scores_of_a_version_are_those_of_its_run_without_its_curves(model_names, add_version):
    version = add_version(next(model_names))
    runs.log_metrics(version.run_id, {"macro_f1": 0.91})
    runs.log_progress(version.run_id, 10, {"val_macro_f1": 0.5})
    assert versions.metrics(version) == {"macro_f1": 0.91}


def test_tags_are_added_to_those_a_version_came_with(model_names, add_version):
    version = add_version(next(model_names), "aa", method="lora")
    versions.tag_version(version, {"decision": "held"})
    version_found = versions.find(version.name, version=version.version)
    assert version_found.tags == {"fingerprint": "aa", "method": "lora", "decision": "held"}


@pytest.mark.slow
def test_a_version_that_others_have_loaded_is_still_as_it_was_registered(sealed_version, sqlite_registry):
    """Python would write bytecode beside the code that it imports, and MLflow writes a file of its own."""
    version, folder = sealed_version()
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [sys.executable, "-c", LOAD, backend.address(), version.uri]
    done = subprocess.run(command, cwd=sqlite_registry, env=plain, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (folder / "registered_model_meta").exists()
    assert list(folder.rglob("*.pyc")) == []
    assert versions.checked_folder(version) == folder


@pytest.mark.parametrize("change", ["changed", "added", "missing", "resealed", "unsealed"])
def test_a_version_that_is_not_what_was_registered_is_not_loaded_and_the_file_is_named(sealed_version, change):
    version, folder = sealed_version()
    weights = folder / "artifacts" / "model" / "head.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    file_name = weights.name
    if change in ("changed", "resealed"):
        weights.write_bytes(content)
    elif change == "added":
        file_name = "extra.py"
        weights.with_name(file_name).write_text("print('hello')")
    elif change == "missing":
        weights.unlink()
    if change in ("resealed", "unsealed"):
        file_name = checksums.FILE
        checksums.write(folder) if change == "resealed" else (folder / file_name).unlink()
    with pytest.raises(Refused, match=f"(?s)not what was registered.*{file_name}"):
        versions.checked_folder(version)


def test_the_last_entry_of_the_history_is_kept_with_the_model(model_names, add_version):
    name = next(model_names)
    assert name not in versions.heads()
    add_version(name)
    entry = history.Entry(3, "tag", "champion", name, 1, "now", "me", (), {}, "none", "5" * 64, "c" * 40)
    assert versions.anchor(history.Chain(name, (entry,)))
    assert versions.heads()[name] == f"3 {'5' * 64}"
    assert not versions.anchor(history.Chain(name, (entry,)))
    for other in (history.Chain(name), history.Chain(name, (replace(entry, sha256="6" * 64),))):
        with pytest.raises(Refused, match="the registry knows entry 3"):
            versions.anchor(other)
    assert versions.heads()[name] == f"3 {'5' * 64}"


def test_the_last_entry_is_kept_also_of_a_model_that_has_no_version_yet(model_names, add_version):
    name = next(model_names)
    entry = history.Entry(1, "tag", "decided", name, 0, "2026-01-01", "me", (), {}, "none", "5" * 64, "c")
    assert not versions.anchor(history.Chain(name))
    assert name not in versions.heads()
    versions.anchor(history.Chain(name, (entry,)))
    assert versions.heads()[name] == entry.head
    assert backend.client().get_registered_model(name).tags == {versions.HEAD: entry.head}
    assert versions.versions(name) == []
    assert add_version(name).version == 1
