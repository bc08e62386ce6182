"""The SQLite file of this clone, read beside MLflow and as MLflow reads it."""

import subprocess

import pytest

from retune.lineage import history
from retune.registry import backend, sqlite_reader, versions

pytestmark = pytest.mark.usefixtures("sqlite_registry")


def test_our_own_file_is_read_as_mlflow_reads_it(names, add, monkeypatch):
    name = next(names)
    made = [add(name, f"f{number}", note=f"it's {number}") for number in range(4)]
    versions.set_alias(made[0], "champion")
    versions.set_alias(made[2], "challenger")
    versions.set_alias(made[2], "a-third")
    backend.client().delete_model_version(name, "2")
    backend.client().register_prompt(f"{name}-prompt", "a template")
    ours = versions.versions(), versions.versions(name), versions.heads()
    monkeypatch.setattr(sqlite_reader, "_read", lambda *_: None)
    assert ours == (versions.versions(), versions.versions(name), versions.heads())
    assert [version.version for version in ours[1]] == [4, 3, 1]


def test_a_file_that_is_no_store_is_left_to_mlflow(tmp_path, monkeypatch):
    monkeypatch.setattr(backend, "own_store", lambda: tmp_path / "mlflow.db")
    assert versions.versions() == []
    (tmp_path / "mlflow.db").write_text("no database")
    assert sqlite_reader.tags_of_models(versions.HEAD) is None


def test_versions_and_heads_are_read_without_mlflow(names, add, sqlite_registry, start):
    name = next(names)
    add(name)
    for words in (
        ["init", "-q"],
        ["-c", "user.name=A", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"],
    ):
        subprocess.run(["git", *words], cwd=sqlite_registry, check=True)
    history.append_decision(name, ["nothing to do"], {}, versions.anchor)
    program = (
        "from retune.lineage import history; from retune.registry import versions\n"
        f"version, = versions.versions({name!r}); versions.version_folder(version)\n"
        f"assert versions.heads()[{name!r}] == history.read({name!r}).last.head\n"
        "import sys; print(sorted({'mlflow', 'torch', 'prefect', 'sqlalchemy'} & set(sys.modules)))"
    )
    assert start(program, sqlite_registry).communicate()[0] == "[]\n"
