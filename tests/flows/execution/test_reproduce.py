"""A version is rebuilt from its commit and its raw bytes: with a pipeline of seconds, and once with the real one."""

import hashlib
import json
import os
import shutil
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

from flows.execution import dvc
from flows.execution import reproduce as reproducing
from flows.execution.locked_packages import MISSING, unlike_project
from flows.execution.reproduce import reproduce, weights
from retune.errors import Broken, Refused, WrongUse, to_line
from retune.lineage.check import Check
from retune.system import dvc_store, git
from tests.support.recorded_pipeline import lines_of, record_of, run


@pytest.fixture
def version_record(pipeline_project):
    return json.loads(Path("record.json").read_text("utf-8"))


@pytest.fixture
def target_folder(tmp_path):
    return tmp_path / "rebuilt"


def picture(pipeline_project):
    """Everything that has to stay as it was."""
    cache = {
        str(path): (path.stat().st_mode, path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in (pipeline_project.folder / ".dvc/cache").rglob("*")
    }
    git = [pipeline_project.git(*words) for words in (("for-each-ref",), ("status", "--porcelain"), ("stash", "list"))]
    git_files = ((pipeline_project.folder / ".git" / name).read_bytes() for name in ("HEAD", "config", "index"))
    return cache, git, *git_files, pipeline_project.file_contents()


@pytest.mark.slow
def test_a_version_from_a_dirty_workspace_is_rebuilt_to_the_bit_after_all_of_it_was_deleted(
    pipeline_project, target_folder, monkeypatch
):
    record = run(pipeline_project, luck="no")
    pipeline_project.git("checkout", "-q", "params.yaml")
    pipeline_project.write("tasks/step.py", "raise SystemExit('the branch has moved on')\n")
    pipeline_project.git("add", "tasks/step.py")
    pipeline_project.git("commit", "-q", "-m", "move on")
    for name in ("data/splits", "data/curated", "models/candidate", "dvc.lock"):
        path = pipeline_project.folder / name
        path.unlink() if path.is_file() else shutil.rmtree(path)
    monkeypatch.setenv("PYTHONPATH", str(pipeline_project.folder))
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    monkeypatch.setenv("GIT_DIR", str(pipeline_project.folder / ".git"))
    before, lines = picture(pipeline_project), []
    record["environment"]["threads"] = 1
    done = reproduce("classifier/1", record, target_folder, 0.0, lines.append)
    assert (done.ok, done.proved) == (True, "bit-identical")
    names = [link.name for link in done.compared]
    assert names[:2] == ["data/raw", "data/curated/rows.parquet"] and "data/splits/test.parquet" in names
    assert names[-3:] == [
        "models/candidate",
        "models/candidate/adapter/weights.safetensors",
        "models/candidate/head.safetensors",
    ]
    assert all(link.expected == link.found != "missing" for link in done.compared)
    assert len(lines_of(lines, "Running stage")) == 4
    assert len(lines_of(lines, f"with {target_folder}/tasks/step.py threads 1")) == 4
    assert "luck: no" in (target_folder / "params.yaml").read_text("utf-8")
    assert picture(pipeline_project) == before


@pytest.mark.slow
def test_the_clone_reuses_raw_bytes_only(pipeline_project, version_record, target_folder):
    reproduce("classifier/1", version_record, target_folder, 0.0, lambda line: None)
    assert (target_folder / ".dvc/config.local").read_text("utf-8").count(str(target_folder)) == 1
    assert not (target_folder / ".git/objects/info/alternates").exists()
    clone_inodes = {path.stat().st_ino for path in (target_folder / ".dvc/cache").rglob("*") if path.is_file()}
    shop_inodes = {path.stat().st_ino for path in (pipeline_project.folder / ".dvc/cache").rglob("*") if path.is_file()}
    assert clone_inodes & shop_inodes == set()
    assert git.output("remote", cwd=target_folder) == ""


@pytest.mark.slow
def test_other_weights_with_the_same_scores_are_told_from_the_same_bits(pipeline_project, target_folder, tmp_path):
    record = run(pipeline_project, luck="true")
    done = reproduce("classifier/1", record, target_folder, 0.01, lambda line: None)
    assert (done.ok, done.proved) == (True, "metrics within tolerance")
    assert Check("accuracy", "0.9 give or take 0.01", "0.9", True) in done.compared
    assert all(link.ok for link in done.compared)
    assert "Not bit-identical: models/candidate, models/candidate/head.safetensors." in done.environment
    assert "python" in done.environment and "then 3" in done.environment
    record["scores"]["candidate"]["macro_f1"]["value"] = 0.82
    again = reproducing.compare_with_record(record, target_folder, 0.01, "")
    assert (again.ok, again.proved) == (False, "nothing")
    assert [link.name for link in again.compared if not link.ok] == [
        "models/candidate", "models/candidate/head.safetensors", "macro_f1",
    ]  # fmt: skip


@pytest.mark.slow
def test_other_sides_prove_nothing_whatever_the_scores_say(pipeline_project, version_record, target_folder):
    version_record["pipeline"]["hashes"]["data/splits/test.parquet"] = "0" * 32
    done = reproduce("classifier/1", version_record, target_folder, 1.0, lambda line: None)
    assert (done.ok, done.proved) == (False, "nothing")
    assert [link.name for link in done.compared if not link.ok] == ["data/splits/test.parquet"]


@pytest.mark.slow
def test_a_commit_that_is_not_what_the_record_says_is_not_run(pipeline_project, version_record, target_folder):
    version_record["pipeline"]["hashes"]["tasks/step.py"] = "0" * 32
    lines = []
    done = reproduce("classifier/1", version_record, target_folder, 1.0, lines.append)
    assert (done.ok, done.proved, [link.name for link in done.compared]) == (False, "nothing", ["tasks/step.py"])
    assert lines_of(lines, "Running stage") == []


@pytest.mark.slow
def test_bytes_that_are_gone_are_said_to_be_gone_and_nothing_is_written(
    pipeline_project, version_record, target_folder
):
    md5 = hashlib.md5(b"leek\n").hexdigest()
    (pipeline_project.folder / f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}").unlink()
    with pytest.raises(Refused, match=f"bytes gone, hashes kept.*{md5}"):
        reproduce("classifier/1", version_record, target_folder, 0.0, lambda line: None)
    shutil.rmtree(pipeline_project.folder / ".dvc/cache")
    with pytest.raises(Refused, match="bytes gone, hashes kept.*" + version_record["pipeline"]["hashes"]["data/raw"]):
        reproduce("classifier/1", version_record, target_folder, 0.0, lambda line: None)
    assert not target_folder.exists()


@pytest.mark.slow
def test_bytes_that_only_a_remote_has_come_from_there(pipeline_project, version_record, target_folder):
    pipeline_project.dvc("remote", "add", "-q", "-d", "store", "../store")
    pipeline_project.dvc("push", "-q", "data/raw.dvc")
    shutil.rmtree(pipeline_project.folder / ".dvc/cache")
    dvc_store._repository.cache_clear()
    before = picture(pipeline_project)
    assert reproduce("classifier/1", version_record, target_folder, 0.0, lambda line: None).proved == "bit-identical"
    assert picture(pipeline_project) == before


@pytest.mark.slow
def test_damaged_bytes_are_refused_and_named(pipeline_project, version_record, target_folder):
    md5 = hashlib.md5(b"leek\n").hexdigest()
    path = pipeline_project.folder / f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}"
    path.chmod(0o644)
    path.write_bytes(b"leak\n")
    with pytest.raises(Refused, match=f"{md5} are damaged"):
        reproduce("classifier/1", version_record, target_folder, 0.0, lambda line: None)
    assert path.read_bytes() == b"leak\n"


@pytest.mark.slow
def test_a_commit_that_is_gone_is_refused(pipeline_project, version_record, target_folder):
    version_record["code"]["record_commit"] = "0" * 40
    with pytest.raises(Refused, match="0000 of classifier/1 is not in this repository"):
        reproduce("classifier/1", version_record, target_folder, 0.0, lambda line: None)


@pytest.mark.slow
def test_a_commit_that_no_ref_holds_is_found_as_long_as_it_is_there(pipeline_project, version_record, target_folder):
    for ref in pipeline_project.git("for-each-ref", "--format=%(refname)", "refs/exps").split():
        pipeline_project.git("update-ref", "-d", ref)
    reproducing.clone(version_record["code"]["record_commit"], target_folder)
    assert (target_folder / "dvc.lock").exists()


@pytest.mark.slow
def test_a_folder_that_is_not_empty_or_part_of_the_checkout_is_wrong_use(
    pipeline_project, version_record, target_folder
):
    target_folder.mkdir()
    (target_folder / "mine.txt").touch()
    for folder, message in (
        (target_folder, "is not empty"),
        (target_folder / "mine.txt", "is not empty"),
        (Path("deep/in"), "outside"),
    ):
        with pytest.raises(WrongUse, match=message):
            reproduce("classifier/1", version_record, folder, 0.0, lambda line: None)
    assert list(target_folder.iterdir()) == [target_folder / "mine.txt"] and not Path("deep").exists()
    reproducing.check_target(Path(".retune/rebuilt").absolute())


@pytest.mark.slow
def test_a_stage_that_refuses_is_told_in_its_own_words(pipeline_project, version_record, target_folder):
    pipeline_project.write(
        "tasks/step.py", f"import sys\nprint({to_line(Refused('no such rows'))!r}, file=sys.stderr)\nsys.exit(1)\n"
    )
    md5 = hashlib.md5(Path("tasks/step.py").read_bytes()).hexdigest()
    pipeline_project.git("commit", "-qam", "refuse")
    pipeline_project.git("add", "data/raw.dvc")
    pipeline_project.git("commit", "-qm", "data")
    version_record["code"]["record_commit"] = pipeline_project.git("rev-parse", "HEAD").strip()
    version_record["pipeline"]["hashes"]["tasks/step.py"] = md5
    with pytest.raises(Refused, match="no such rows"):
        reproduce("classifier/1", version_record, target_folder, 0.0, lambda line: None)


@pytest.mark.slow
def test_an_interrupt_ends_the_stages_and_leaves_the_checkout_alone(pipeline_project, version_record, target_folder):
    pipeline_project.write(
        "tasks/step.py", "import os, time\nprint('pids', os.getpid(), os.getppid(), flush=True)\ntime.sleep(600)\n"
    )
    pipeline_project.git("add", "data/raw.dvc", "tasks/step.py")
    pipeline_project.git("commit", "-qm", "sleep")
    version_record["code"]["record_commit"] = pipeline_project.git("rev-parse", "HEAD").strip()
    version_record["pipeline"]["hashes"]["tasks/step.py"] = hashlib.md5(Path("tasks/step.py").read_bytes()).hexdigest()
    before, pids = picture(pipeline_project), []

    def say(line):
        if line.startswith("pids"):
            pids.extend(map(int, line.split()[1:]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce("classifier/1", version_record, target_folder, 0.0, say)
    assert len(pids) == 2 and [pid for pid in pids if alive(pid)] == []
    assert picture(pipeline_project) == before


SLEEPY = "import os, time\nprint('pids', os.getpid(), os.getppid(), flush=True)\ntime.sleep(600)\n"


def alive(pid):
    """Whether a process still works: what was killed and not yet buried does not."""
    for _ in range(20):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return False
        except psutil.NoSuchProcess:
            return False
        time.sleep(0.1)
    return True


def project(folder, *dependencies, lock=""):
    requirements = ", ".join(f'"{name}"' for name in dependencies)
    (folder / "pyproject.toml").write_text(f"[project]\nname = 't'\ndependencies = [{requirements}]\n", "utf-8")
    (folder / "requirements.lock").write_text(f"# pins\n{lock}", "utf-8")
    return unlike_project(folder)


@pytest.mark.slow
def test_other_packages_are_installed_for_it_or_the_answer_is_that_they_cannot_be_had(
    pipeline_project, target_folder, monkeypatch
):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    target_folder.mkdir()
    assert project(target_folder, "click", lock="click==0.0.1\n")
    lines = []
    with pytest.raises(Broken, match=r"recorded packages cannot be installed here \(click==0\.0\.1\)"):
        reproducing.interpreter(target_folder, lines.append)
    assert (target_folder / ".venv/bin/python").exists()
    assert "click is" in lines[0] and "not 0.0.1" in lines[0]


def recorded(**changes):
    return {"python": "3", "platform": "p", "torch": "t", "device": "cpu", "threads": 0, **changes}


@pytest.mark.slow
def test_threads_are_set_only_where_this_machine_would_choose_others(tmp_path, monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/__init__.py").touch()
    python = Path(sys.executable)
    usual = reproducing._look_around(python, dict(os.environ), tmp_path)["threads"]
    env, _ = reproducing.surroundings(python, recorded(threads=usual), tmp_path)
    assert "OMP_NUM_THREADS" not in env
    if usual == 1:
        pytest.skip("this machine has one core, so nothing can be recorded that it would not choose")
    env, notes = reproducing.surroundings(python, recorded(threads=1), tmp_path)
    assert env["OMP_NUM_THREADS"] == env["MKL_NUM_THREADS"] == "1" and env["CUDA_VISIBLE_DEVICES"] == ""
    assert reproducing._look_around(python, env, tmp_path)["threads"] == 1
    assert "threads" not in notes[0]


def test_a_model_that_asked_for_a_gpu_is_rebuilt_without_one(tmp_path):
    (tmp_path / "params.yaml").write_text("train:\n  device: cuda   # which\n  method: full\n", "utf-8")
    reproducing._train_without_gpu(tmp_path / "params.yaml")
    assert (tmp_path / "params.yaml").read_text("utf-8") == "train:\n  device: auto   # which\n  method: full\n"


def test_stages_that_would_import_other_code_are_not_run(tmp_path):
    """This project is installed by its path, so that code is what Python finds where a folder has none of its own."""
    with pytest.raises(Broken, match=r"would import .*tasks/__init__"):
        reproducing.surroundings(Path(sys.executable), recorded(), tmp_path)


def test_weights_are_matched_by_the_longest_path_that_they_share(tmp_path):
    for name in ("head.safetensors", "adapter/head.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    sums = {
        name: hashlib.sha256(name.encode()).hexdigest() for name in ("head.safetensors", "adapter/head.safetensors")
    }
    files = {f"artifacts/candidate/{name}": sha256 for name, sha256 in sums.items()}
    assert [link.ok for link in weights(files, tmp_path)] == [True, True]
    less = weights({"artifacts/candidate/head.safetensors": sums["head.safetensors"]}, tmp_path)
    assert [(link.name, link.expected) for link in less if not link.ok] == [
        ("models/candidate/adapter/head.safetensors", MISSING)
    ]
    more = weights({**files, "artifacts/candidate/probe.safetensors": "0" * 64}, tmp_path)
    assert [link for link in more if not link.ok] == [
        Check("artifacts/candidate/probe.safetensors", "0" * 64, MISSING, False)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora"])
def test_the_sample_is_rebuilt_to_the_bit(new_clone, tmp_path, monkeypatch, method):
    source_clone = new_clone(tmp_path / "house")
    tickets = pd.read_csv(source_clone.folder / "tests/samples/tickets.csv", dtype="str", keep_default_na=False)
    few = tickets[tickets["queue"].isin(["billing", "delivery", "refunds"])].groupby("queue").head(50)
    few.to_csv(source_clone.folder / "slice.csv", index=False)
    process = source_clone.retune(
        "ingest", "slice.csv", "--text", "body", "--label", "queue", "--id", "ticket_id", "--licence", "Apache-2.0"
    )
    assert process.returncode == 0, process.stderr
    settings = [
        f"train.method={method}",
        "train.max_tokens=32",
        "validate.max_truncated_share=1.0",
        "train.epochs=1",
        "train.refit=false",
        "evaluate.bootstrap=100",
    ]
    wrote = source_clone.python("-c", f"from flows.project.params_editor import write; write({settings!r})")
    assert wrote.returncode == 0, wrote.stderr
    ran = source_clone.dvc("repro", timeout=500)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    monkeypatch.chdir(source_clone.folder)
    monkeypatch.setenv("PYTHONPATH", str(source_clone.folder))
    dvc_store._repository.cache_clear()
    training = json.loads(Path("models/reports/train.json").read_text("utf-8"))
    record = record_of(dvc.save_record("run-1"), Path("models/candidate"), training["threads"])
    record["environment"] |= {name: training[name] for name in ("torch", "device") if name in training}
    source_clone.git("checkout", "-q", "params.yaml")
    for name in ("data/splits", "data/curated", "models/candidate"):
        shutil.rmtree(name)
    lines = []
    done = reproduce("classifier/1", record, tmp_path / "rebuilt", 0.0, lines.append)
    assert (done.ok, done.proved) == (True, "bit-identical"), done
    assert len(lines_of(lines, "Running stage")) == 5
    assert {"models/candidate/head.safetensors", "models/candidate/probe.safetensors"} <= {
        link.name for link in done.compared
    }
