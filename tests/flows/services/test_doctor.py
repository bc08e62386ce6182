import hashlib
import io
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from flows.services import doctor
from retune.data import suppression
from retune.lineage import history
from retune.registry import versions
from tests.support.git_repo import init_repository


@pytest.fixture(scope="module")
def findings_of_doctor(clone):
    done = clone.call("doctor", "--json")
    return done, {finding["name"]: finding for finding in json.loads(done.stdout)}


def test_a_sound_installation_is_all_ok(findings_of_doctor):
    done, findings = findings_of_doctor
    wrong = {name: finding["found"] for name, finding in findings.items() if not finding["ok"]}
    wrong.pop("disk", None)  # this machine's, not the installation's
    assert wrong == {}
    assert done.returncode in (0, 1) and (done.returncode == 0) == all(finding["ok"] for finding in findings.values())


def test_everything_that_the_contract_names_is_checked(findings_of_doctor):
    assert {"python", "packages", "params", "base", "disk", "device", "git", "dvc", "registry", "prefect"} <= set(
        findings_of_doctor[1]
    )


def test_a_version_unlike_the_lock_is_named(tmp_path, monkeypatch):
    import click

    monkeypatch.chdir(tmp_path)
    Path("requirements.lock").write_text("click==0.0.1\nno-such-package==1.0\n", "utf-8")
    assert doctor._versions() == (False, f"click is {version_of(click)}, locked 0.0.1")


def version_of(module):
    import importlib.metadata

    return importlib.metadata.version(module.__name__)


def test_what_is_wrong_is_named_with_how_to_mend_it(own_clone):
    lock = own_clone.folder / "requirements.lock"
    lines = ["click==0.0.1" if line.startswith("click==") else line for line in lock.read_text("utf-8").splitlines()]
    lock.write_text("\n".join(lines) + "\n", "utf-8")
    params = own_clone.folder / "params.yaml"
    params.write_text(params.read_text("utf-8").replace("  sha256: 53aa", "  sha256: 54aa"), "utf-8")
    away = type(own_clone)(own_clone.folder, {"PREFECT_API_URL": "http://127.0.0.1:9/api"})
    done = away.call("doctor")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    bad = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("BAD")}
    assert bad - {"disk"} == {"packages", "base", "prefect", "schedule"}  # whose server is away
    assert "locked 0.0.1" in done.stdout
    assert "make setup" in done.stdout
    assert "PREFECT_API_URL" in done.stdout


@pytest.mark.parametrize(
    ("error", "message"), [(OSError("disk on fire\nmore"), "OSError: disk on fire"), (ValueError(), "ValueError: ")]
)
def test_a_check_that_breaks_is_a_finding(error, message):
    def broken():
        raise error

    assert doctor._look("disk", broken, "put it out") == doctor.Finding("disk", False, message, "put it out")


def test_a_lock_that_has_gone_is_a_finding(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (finding,) = [doctor._look(name, check, mend) for name, check, mend in doctor.CHECKS if name == "packages"]
    assert not finding.ok and "requirements.lock" in finding.found
    assert list(tmp_path.iterdir()) == []


def bad(clone, *names):
    """What doctor finds wrong in a clone, among these."""
    findings = {finding["name"]: finding for finding in json.loads(clone.call("doctor", "--json").stdout)}
    return {name: finding for name, finding in findings.items() if name in names and not finding["ok"]}


def test_a_wrong_params_yaml_is_mended_first_and_nothing_is_reinstalled(own_clone):
    (own_clone.folder / "params.yaml").write_text("train: {}\n", "utf-8")
    findings = bad(own_clone, "params", "base", "device", "champion")
    assert set(findings) == {"params", "base", "device", "champion"}
    for name in ("base", "device", "champion"):
        assert findings[name]["mend"] == "correct params.yaml first, as params says above"


def test_a_registry_that_the_services_keep_and_that_is_down_is_started_by_up(own_clone):
    services = own_clone.folder / ".retune/services"
    services.mkdir(parents=True)
    state = {"folder": str(services), "database": "postgres", "host": "127.0.0.1", "processes": {}}
    ports = {"postgres": 5433, "prefect": 4200, "mlflow": 5000}
    (services / "state.json").write_text(json.dumps({**state, "ports": ports}), "utf-8")
    findings = bad(own_clone, "registry", "champion")
    assert "`retune up` serves it, and MLflow (http://127.0.0.1:5000) is down" in findings["registry"]["found"]
    assert findings["registry"]["mend"] == "`retune up` starts it"
    assert "solve that first" in findings["champion"]["mend"], "nobody knows whether there is one"


@pytest.fixture
def champion(tmp_path, monkeypatch, register_tiny):
    """A version that is champion by registry and history, in a clone that is entered; it learned from rows a and b."""
    shutil.copy(Path(doctor.__file__).parents[2] / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    init_repository(tmp_path)
    version = register_tiny("classifier")
    versions.set_alias(version, versions.CHAMPION)
    chain = history.read("classifier")
    sides = {
        "Train": state_without_id(pd.DataFrame({"id": ["a", "b"]})),
        "Val": state_without_id(pd.DataFrame({"id": ["v"]})),
    }
    facts = {**chain.registered(version.version).facts, **sides}
    history.append("classifier", version.version, history.CHAMPION, ["better"], facts, versions.anchor)
    suppression.write(suppression.NOTHING)
    return version


def state_without_id(rows):
    """The hash under which DVC's cache holds these rows from now on."""
    whole = io.BytesIO()
    rows.to_parquet(whole)
    md5 = hashlib.md5(whole.getvalue(), usedforsecurity=False).hexdigest()
    path = Path(".dvc/cache/files/md5") / md5[:2] / md5[2:]
    path.parent.mkdir(parents=True)
    path.write_bytes(whole.getvalue())
    Path(".dvc/config").touch()
    return md5


def champion_check():
    (finding,) = [doctor._look(name, check, mend) for name, check, mend in doctor.CHECKS if name == "champion"]
    return finding


def test_a_sound_champion_is_well(champion):
    assert champion_check().ok and "classifier/1" in champion_check().found


def test_a_champion_that_has_lost_a_file_is_rolled_back(champion):
    (versions.version_folder(champion) / "MLmodel").unlink()
    finding = champion_check()
    assert not finding.ok and "MLmodel" in finding.found and "classifier/1" in finding.found
    assert "retune rollback --reason TEXT" in finding.mend


@pytest.mark.parametrize(("ids", "row_count"), [(["a", "z"], "1 row that is"), (["a", "v"], "2 rows that are")])
def test_a_champion_that_learned_from_rows_that_are_suppressed_now_is_followed_by_another(champion, ids, row_count):
    suppression.write(suppression.add(suppression.NOTHING, ids, "asked to", "me", "2026-01-01"))
    finding = champion_check()
    assert not finding.ok and finding.found == f"classifier/1 learned from {row_count} suppressed now"
    assert "retune retrain" in finding.mend and "retune promote" in finding.mend


def test_rows_of_other_versions_that_are_suppressed_say_nothing_of_the_champion(champion):
    suppression.write(suppression.add(suppression.NOTHING, ["z"], "asked to", "me", "2026-01-01"))
    assert champion_check().ok


def test_a_list_of_suppressed_rows_that_cannot_be_read_is_no_reason_to_roll_back(champion):
    suppression.LIST.write_text("torn", "utf-8")
    finding = champion_check()
    assert not finding.ok and "data/suppressed.json" in finding.found and "rollback" not in finding.mend
