import json

import pytest

from flows import doctor


@pytest.fixture(scope="module")
def told(clone):
    done = clone.retune("doctor", "--json")
    return done, {finding["name"]: finding for finding in json.loads(done.stdout)}


def test_a_sound_installation_is_all_ok(told):
    done, findings = told
    wrong = {name: finding["found"] for name, finding in findings.items() if not finding["ok"]}
    wrong.pop("disk", None)  # this machine's, not the installation's
    assert wrong == {}
    assert done.returncode in (0, 1) and (done.returncode == 0) == all(finding["ok"] for finding in findings.values())


def test_everything_that_the_contract_names_is_checked(told):
    assert {"python", "packages", "params", "base", "disk", "device", "git", "dvc", "registry", "prefect"} <= set(
        told[1]
    )


def test_a_version_unlike_the_lock_is_named(tmp_path):
    import click

    lock = tmp_path / "requirements.lock"
    lock.write_text("click==0.0.1\nno-such-package==1.0\n", "utf-8")
    assert doctor.unlike_lock(lock) == [f"click is {version_of(click)}, locked 0.0.1"]


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
    done = away.retune("doctor")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    bad = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("BAD")}
    assert bad - {"disk"} == {"packages", "base", "prefect", "schedule"}  # whose server is away
    assert "locked 0.0.1" in done.stdout
    assert "make setup" in done.stdout
    assert "PREFECT_API_URL" in done.stdout


@pytest.mark.parametrize(
    ("error", "found"), [(OSError("disk on fire\nmore"), "OSError: disk on fire"), (ValueError(), "ValueError: ")]
)
def test_a_check_that_breaks_is_a_finding(error, found):
    def broken():
        raise error

    assert doctor._look("disk", broken, "put it out") == doctor.Finding("disk", False, found, "put it out")


def test_a_lock_that_has_gone_is_a_finding(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (finding,) = [doctor._look(name, check, mend) for name, check, mend in doctor.CHECKS if name == "packages"]
    assert not finding.ok and "requirements.lock" in finding.found
    assert list(tmp_path.iterdir()) == []
