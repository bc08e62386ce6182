"""A registry that an earlier code has made stays readable: listed, verified, traced, asked, rolled back.

`tests/fixtures/make_registry.py` says what the project of the archive holds. The tests unpack it in another folder,
take the code under test into it as a user does who upgrades, and speak to it by the command line alone, so that no
name inside the code matters to them. They share the project and stand in the order of its story.
"""

import json
import sqlite3
import tarfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

FIXTURES = Path(__file__).parent.parent / "fixtures"
ARCHIVE, EXPECTED = FIXTURES / "registry_a08b4f9.tar.xz", FIXTURES / "registry_a08b4f9.json"
VERSIONS = ("classifier/1", "classifier/2", "writer/1")
SLOW = pytest.mark.slow  # a model is loaded: seconds, minutes on a busy machine


@pytest.fixture(scope="module")
def expected():
    """What the earlier code says of its registry."""
    return json.loads(EXPECTED.read_text("utf-8"))


@pytest.fixture(scope="module")
def project(new_clone, expected, tmp_path_factory):
    """The project of the archive with the code under test."""
    code = new_clone(tmp_path_factory.mktemp("code"))
    project = replace(code, folder=tmp_path_factory.mktemp("project"))
    unpack(project, expected["paths"])
    upgrade(project, code)
    return project


def unpack(project, paths):
    """paths: table -> columns of the MLflow store with absolute paths, in which /PROJECT stands for the folder."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(project.folder, filter="tar")  # keeps the files of the DVC cache read-only
    with closing(sqlite3.connect(project.folder / ".retune/mlflow.db")) as database, database:
        for table, column in ((table, column) for table, columns in paths.items() for column in columns):
            change = f"update {table} set {column} = replace({column}, ?, ?)"
            database.execute(change, ("/PROJECT", str(project.folder)))
    project.git("restore", ".")


def upgrade(project, code):
    """Take the new code into the project, as the CHANGELOG says. What the user has changed stays as it is."""
    (first,) = project.git("rev-list", "--max-parents=0", "HEAD").split()
    changes = project.git("diff", "--name-only", first, "HEAD").split()
    project.git("fetch", "-q", str(code.folder), "main")
    project.git("read-tree", "-m", "-u", "HEAD", "FETCH_HEAD")
    project.git("checkout", "HEAD", "--", *changes)
    migrated = project.call("params", "migrate")
    assert migrated.returncode == 0, migrated.stderr
    project.git("commit", "-q", "-a", "-m", "Upgrade")


def ask(project, *words, code=0):
    answer = project.call(*words, "--json")
    assert answer.returncode == code, answer.stdout[-3000:] + answer.stderr
    return json.loads(answer.stdout)


def champions(versions):
    return {name_of(version) for version in versions if "champion" in version["aliases"]}


def name_of(version):
    return f"{version['name']}/{version['version']}"


def test_the_project_runs_the_code_under_test_on_its_own_records(project):
    assert project.git("status", "--porcelain") == ""
    assert not project.git("diff", "FETCH_HEAD", "--", "flows", "tasks", "retune", "dvc.yaml")
    assert not project.git("diff", "HEAD^", "--", "data/raw.dvc", "data/suppressed.json", "dvc.lock")


def test_every_version_and_the_champion_are_listed(project):
    versions = ask(project, "models")
    assert sorted(map(name_of, versions)) == sorted(VERSIONS)
    assert champions(versions) == {"classifier/2", "writer/1"}
    assert all(version["metrics"] and version["fingerprint"] for version in versions)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_link_of_a_version_holds(project, version):
    links = json.loads(project.call("verify", version, "--json").stdout)["links"]
    assert [link for link in links if not link["ok"]] == []
    assert len(links) > 50


def test_the_lineage_of_the_champion_gives_its_record(project):
    lineage = ask(project, "lineage", "model", "classifier@champion")
    record = lineage["record"]
    assert lineage["ok"] and name_of(lineage) == "classifier/2"
    assert (record["name"], record["training"]["method"]) == ("classifier", "lora")
    assert record["gate"]["champion"] == "classifier/1"


def test_a_ticket_is_traced_to_the_versions_that_saw_it(project, expected):
    for ticket, splits in expected["splits"].items():
        trace = ask(project, "lineage", "row", ticket, code=0 if splits else 1)  # 1: no version saw it
        assert {name_of(version): version["side"] for version in trace["versions"]} == splits
        assert not trace["gone"] and set(trace["free"]) == set(VERSIONS) - set(splits)


@pytest.mark.parametrize("model", ["classifier", "writer"])
def test_the_history_is_whole(project, model):
    assert ask(project, "history", model, "--verify")["ok"]


@pytest.mark.parametrize("version", ["classifier/1", *(pytest.param(name, marks=SLOW) for name in VERSIONS[1:])])
def test_a_version_answers_as_before(project, expected, version):
    before = expected["answers"][version]
    now = ask(project, "predict", version, *(each["text"] for each in before))
    assert [each["label"] for each in now] == [each["label"] for each in before]
    confidence = [each["confidence"] for each in before]
    assert [each["confidence"] for each in now] == pytest.approx(confidence, abs=1e-3)


@SLOW
def test_a_rollback_brings_the_earlier_champion_back(project):
    entry = ask(project, "rollback", "classifier", "--reason", "try the earlier one")
    assert (name_of(entry), entry["how"]) == ("classifier/1", "rollback")
    assert champions(ask(project, "models", "classifier")) == {"classifier/1"}
    assert ask(project, "history", "classifier", "--verify")["ok"]


@pytest.mark.long  # with other packages than those of the archive's requirements.lock it installs these first
@pytest.mark.timeout(1500)
def test_an_earlier_version_is_rebuilt_from_its_commit(project):
    assert ask(project, "reproduce", "classifier/1")["ok"]
