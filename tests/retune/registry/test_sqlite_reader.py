"""The SQLite file of this clone, read beside MLflow and as MLflow reads it."""

import pytest

from retune.lineage import history
from retune.registry import backend, sqlite_reader, versions
from tests.support.git_repo import init_repository

pytestmark = pytest.mark.usefixtures("sqlite_registry")


def test_our_own_file_is_read_as_mlflow_reads_it(model_names, add_version, monkeypatch):
    name = next(model_names)
    versions_added = [add_version(name, f"f{number}", note=f"it's {number}") for number in range(4)]
    versions.set_alias(versions_added[0], "champion")
    versions.set_alias(versions_added[2], "challenger")
    versions.set_alias(versions_added[2], "a-third")
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


def test_versions_and_heads_are_read_without_mlflow(model_names, add_version, sqlite_registry, start_program):
    name = next(model_names)
    add_version(name)
    init_repository(sqlite_registry)
    history.append_decision(name, ["nothing to do"], {}, versions.anchor)
    program = (
        "from retune.lineage import history; from retune.registry import versions\n"
        f"version, = versions.versions({name!r}); versions.version_folder(version)\n"
        f"assert versions.heads()[{name!r}] == history.read({name!r}).last.head\n"
        "import sys; print(sorted({'mlflow', 'torch', 'prefect', 'sqlalchemy'} & set(sys.modules)))"
    )
    assert start_program(program, sqlite_registry).communicate()[0] == "[]\n"
