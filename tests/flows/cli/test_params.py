import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from flows.cli.params import params as group
from flows.project import environment
from retune.config import params
from retune.errors import WrongUse
from tests.support.clones import stop_services
from tests.support.environment import ROOT


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Calls `retune params` in a folder that holds params.yaml."""
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment, "activate_project", lambda services: tmp_path)

    def call(*words):
        result = CliRunner().invoke(group, words)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


def test_a_parameter_is_explained_with_its_value_now(call):
    lines = call("explain", "train.epochs").output.splitlines()
    assert lines[0].startswith("train.epochs: Largest number of passes")
    assert [line.split(maxsplit=1)[0] for line in lines[1:]] == ["type", "allowed", "usual", "value"]


def test_the_explanation_is_there_for_programs_too(call):
    explained = json.loads(call("explain", "train.epochs", "--json").output)
    assert explained["value"] == params.load(Path("params.yaml")).train.epochs
    assert explained["type"] == "integer"


def test_a_section_is_explained_by_what_is_in_it(call):
    assert "train.lora.rank" in call("explain", "train.lora").output
    below = json.loads(call("explain", "train.lora", "--json").output)["parameters"]
    assert below[0]["path"] == "train.lora.learning_rate"


def test_a_wrong_name_is_refused_with_a_close_one(call):
    with pytest.raises(WrongUse, match=r"did you mean train\.epochs"):
        call("explain", "train.epohs")


def test_without_a_file_or_a_task_nothing_is_explained(call):
    Path("params.yaml").write_text("task: [")
    with pytest.raises(WrongUse, match="is not YAML"):
        call("explain", "train.epochs")
    Path("params.yaml").write_text("- 1")
    with pytest.raises(WrongUse, match="task is None"):
        call("explain", "train.epochs")
    Path("params.yaml").unlink()
    with pytest.raises(WrongUse, match="run this in the folder that holds it"):
        call("explain", "train.epochs")


def test_an_old_file_is_checked_then_rewritten_then_there_is_nothing_to_do(call):
    path = Path("params.yaml")
    today = path.read_bytes()
    path.write_bytes(today.replace(b"\ntrigger: ", b"\ndecide:  "))
    checked = call("migrate", "--check")
    assert (checked.exit_code, b"\ndecide:" in path.read_bytes()) == (1, True)
    assert "`decide` is now called `trigger`" in checked.output
    assert call("migrate").exit_code == 0
    assert path.read_bytes() == today
    again = call("migrate")
    assert (again.exit_code, "Nothing to do" in again.output) == (0, True)


def test_the_schema_is_json(call):
    assert "$defs" in json.loads(call("schema").output)


@pytest.mark.parametrize("name", group.commands)
def test_each_help_has_one_example(call, name):
    assert call(name, "--help").output.count("Example: retune params") == 1


def test_parameters_are_migrated_while_the_services_are_down(own_clone):
    stop_services(own_clone)
    assert "is down: start it with `retune up`" in own_clone.retune("models").stderr, "an upgrade is made then"
    for words in (["migrate"], ["explain", "train.epochs"]):
        done = own_clone.retune("params", *words)
        assert done.returncode == 0, done.stderr
