"""What breaks around a run: a full disk, a busy store, a server or a remote that is away, a damaged checkpoint.

Retried or failed loudly; never skipped in silence. And once it is mended, the same command goes on to the same end.
"""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a small disk in memory at a folder."""
    mounted = []

    def mount(folder, kilobytes):
        if os.geteuid():
            pytest.skip("only root may mount a small disk")
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "small", str(folder)], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
        mounted.append(folder)

    def unmount():
        while mounted:
            subprocess.run(["umount", "--lazy", str(mounted.pop())], check=True)

    def over(folder, kilobytes):
        """The same with what the folder holds, and so much room left."""
        aside = tmp_path / "aside"
        subprocess.run(["cp", "-a", str(folder), str(aside)], check=True)
        mount(folder, 2_000_000)
        subprocess.run(["cp", "-a", f"{aside}/.", str(folder)], check=True)
        shutil.rmtree(aside)
        of = os.statvfs(folder)
        resize((of.f_blocks - of.f_bfree) * of.f_frsize // 1024 + kilobytes)

    def resize(kilobytes=2_000_000):
        subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(mounted[-1])], check=True)

    mount.away, mount.over, mount.make_room = unmount, over, resize
    yield mount
    unmount()


def fails(staged_run, place="scored", code=3, **env):
    """The command of a place, which must fail and say so without a traceback of ours. What it said."""
    done = staged_run.go(staged_run.commands[place], **env)
    output = done.stdout + done.stderr
    assert done.returncode == code, output
    assert "retune: " in done.stderr, output
    return output


def repair_lines(staged_run, place="scored"):
    done = staged_run.go(staged_run.commands[place])
    assert done.returncode == 0, done.stdout + done.stderr
    assert staged_run.wrong() == [], done.stdout + done.stderr


def test_an_ingest_on_a_full_disk_changes_nothing(staged_run, small_disk):
    staged_run.begin("empty")
    small_disk(staged_run.folder / "data/raw", 8)
    output = fails(staged_run, "empty")
    assert "No space left" in output and "Nothing was added" in output
    assert list((staged_run.folder / "data/raw").iterdir()) == []
    small_disk.away()
    (staged_run.folder / "data/raw").rmdir()
    done = staged_run.go(staged_run.commands["empty"])
    assert done.returncode == 0, done.stderr
    assert staged_run.raw()["data/raw"] == staged_run.bits["data/raw"]


@pytest.mark.parametrize(("place", "full"), [("split", "models"), ("scored", ".retune/scratch")])
def test_a_run_on_a_full_disk_fails_and_goes_on_when_there_is_room(staged_run, small_disk, place, full):
    staged_run.begin(place)
    subprocess.run(["cp", "-a", str(staged_run.folder / full), str(staged_run.folder / "aside")], check=False)
    small_disk(staged_run.folder / full, 400)
    if full == "models":
        for name in (".gitignore", "start.json", "reports"):  # what stands beside the model
            subprocess.run(
                ["cp", "-a", str(staged_run.folder / "aside" / name), str(staged_run.folder / full)], check=True
            )
    output = fails(staged_run, place)
    assert "o space left" in output, output
    small_disk.away()
    subprocess.run(["rm", "-rf", str(staged_run.folder / "aside")], check=True)
    repair_lines(staged_run, place)


@pytest.mark.parametrize(
    ("place", "full", "kilobytes"),
    [
        ("ingested", ".", 60),  # the first tables
        ("split", ".dvc/cache", 100),  # what a stage has made, on its way into DVC's store
        ("scored", ".git/objects", 12),  # the record
        ("scored", ".", 60),  # the record, and what stands beside it
        ("scored", ".retune", 100),  # the registry
    ],
)
def test_a_disk_that_fills_up_is_told_and_what_it_holds_is_gone_on_from(staged_run, small_disk, place, full, kilobytes):
    staged_run.begin(place)
    small_disk.over(staged_run.folder / full, kilobytes)
    output = fails(staged_run, place)
    print(output)
    assert "o space left" in output or "disk is full" in output
    assert "make room" in output
    assert "Traceback" not in output[output.index("retune: ") :], "what the command says for itself is words"
    assert staged_run.champion() == [1]
    small_disk.make_room()
    repair_lines(staged_run, place)


@pytest.fixture
def lock_registry(staged_run):
    """Holds the registry's file for writing by itself, from another process, for some seconds."""
    program = (
        "import sqlite3, sys, time; held = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "held.execute('pragma busy_timeout = 20000'); held.execute('begin exclusive'); print('held', flush=True)\n"
        "time.sleep(float(sys.argv[2]))"
    )
    started = []

    def hold(seconds):
        words = [sys.executable, "-c", program, str(staged_run.folder / ".retune/mlflow.db"), str(seconds)]
        started.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout.readline() == "held\n"

    yield hold
    for process in started:
        process.kill()
        process.communicate()


def test_a_busy_registry_is_waited_for(staged_run, lock_registry):
    staged_run.begin("scored")
    process = staged_run.clone.start(*staged_run.commands["scored"])
    lines = follow(process)
    until(lines, "Task run 'split'")
    lock_registry(10)
    assert process.wait(300) == 0, "".join(lines)
    assert staged_run.wrong() == []


def test_a_registry_that_stays_busy_is_named(staged_run, lock_registry):
    staged_run.begin("scored")
    lock_registry(120)
    output = fails(staged_run)
    assert "database is locked" in output


def follow(process):
    lines = []
    threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")), daemon=True).start()
    return lines


def until(lines, word, seconds=120):
    end = time.monotonic() + seconds
    while not any(word in line for line in list(lines)):
        assert time.monotonic() < end, "".join(lines)
        time.sleep(0.05)


def serve(folder, port):
    """A real MLflow server on SQLite."""
    words = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]
    with (folder / "log").open("a") as log:
        return subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True, cwd=folder)


def end(server):
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def test_a_registry_that_is_away_in_the_middle_of_a_run_is_waited_for(staged_run, tmp_path, port, wait_for_server):
    staged_run.begin("scored")
    server = serve(tmp_path, port)
    try:
        wait_for_server(f"http://127.0.0.1:{port}/health", server)
        staged_run.clone.env["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{port}"
        process = staged_run.clone.start(*staged_run.commands["scored"])
        lines = follow(process)
        until(lines, "Task run 'validate'")
        end(server)
        time.sleep(15)
        assert process.poll() is None, "".join(lines)
        server = serve(tmp_path, port)
        assert process.wait(400) == 0, "".join(lines)
        with sqlite3.connect(tmp_path / "mlflow.db") as database:
            assert database.execute("select count(*) from model_versions").fetchone() == (1,)
            assert database.execute("select distinct status from runs").fetchall() == [("FINISHED",)]
    finally:
        staged_run.clone.env.pop("MLFLOW_TRACKING_URI", None)
        end(server)


def test_a_registry_that_is_not_there_is_named(staged_run, port):
    staged_run.begin("scored")
    output = fails(staged_run, MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}", MLFLOW_HTTP_REQUEST_MAX_RETRIES="1")
    assert f"127.0.0.1:{port}" in output or f"port={port}" in output


def test_a_push_that_fails_half_way_is_told_and_made_up_for(staged_run, small_disk):
    staged_run.begin("scored")
    small_disk(staged_run.folder / ".retune/remote", 200)
    done = staged_run.go(staged_run.commands["scored"])
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "dvc push" in output and "o space left" in output
    assert staged_run.look()["versions"] == ["classifier/1", "classifier/2"], "its bytes are in the cache"
    small_disk.away()
    repair_lines(staged_run)
    assert json.loads(staged_run.clone.dvc("status", "--cloud", "--json").stdout) == {}


def test_a_damaged_checkpoint_is_never_gone_on_from(staged_run):
    staged_run.begin("split")
    settings = ["train.method=lora", "train.lora.rank=2", "train.epochs=3"]
    staged_run.clone.python("-c", f"from flows.project import params_editor; params_editor.write({settings!r})")
    repro = ("repro", "--force", "--single-item", "train")
    assert staged_run.clone.dvc(*repro).returncode == 0
    whole = staged_run.hashes()["models/candidate"]
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", *repro],
        cwd=staged_run.folder,
        env=staged_run.clone.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    end_of_wait = time.monotonic() + 120
    while not (checkpoints := list(staged_run.folder.glob(".retune/checkpoints/*/choose/step-*"))):
        assert time.monotonic() < end_of_wait
        time.sleep(0.02)
    second_run = staged_run.clone.dvc(*repro)
    assert second_run.returncode, "a second trainer of the same model must be refused"
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    newest = sorted(staged_run.folder.glob(".retune/checkpoints/*/choose/step-*"))[-1] / "tensors.safetensors"
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    assert checkpoints
    again = staged_run.clone.dvc(*repro)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "is damaged and is left out" in again.stdout
    assert staged_run.hashes()["models/candidate"] == whole


def test_two_runs_of_one_fingerprint_in_two_worktrees_make_one_version(staged_run):
    staged_run.begin("scored")
    worktree = staged_run.folder / ".retune/beside"
    staged_run.clone.git("worktree", "add", "--quiet", "--detach", str(worktree))
    other = type(staged_run.clone)(worktree, staged_run.clone.env)
    kept_by_git = [path.relative_to(staged_run.folder) for path in staged_run.folder.glob("models/reports/*.json")]
    for name in ("params.yaml", "dvc.lock", "data/raw.dvc", "data/curated/accepted.json", *kept_by_git):
        (worktree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(staged_run.folder / name, worktree / name)
    assert other.dvc("cache", "dir", "--local", staged_run.folder / ".dvc/cache").returncode == 0
    assert (done := other.dvc("checkout")).returncode == 0, done.stderr
    both = [clone.start(*staged_run.commands["scored"]) for clone in (staged_run.clone, other)]
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert sum("Registered classifier/2: champion." in output for output in outputs) == 1, outputs
    output = staged_run.look()
    assert {name: output[name] for name in ("versions", "aliases", "events")} == {
        name: staged_run.undisturbed_state[name] for name in ("versions", "aliases", "events")
    }
    assert output["broken"] == []
