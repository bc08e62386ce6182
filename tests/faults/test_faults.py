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


def fails(road, place="scored", code=3, **env):
    """The command of a place, which must fail and say so without a traceback of ours. What it said."""
    done = road.go(road.commands[place], **env)
    told = done.stdout + done.stderr
    assert done.returncode == code, told
    assert "retune: " in done.stderr, told
    return told


def mended(road, place="scored"):
    done = road.go(road.commands[place])
    assert done.returncode == 0, done.stdout + done.stderr
    assert road.wrong() == [], done.stdout + done.stderr


# ---- a full disk


def test_an_ingest_on_a_full_disk_changes_nothing(road, small_disk):
    road.begin("empty")
    small_disk(road.folder / "data/raw", 8)
    told = fails(road, "empty")
    assert "No space left" in told and "Nothing was added" in told
    assert list((road.folder / "data/raw").iterdir()) == []
    small_disk.away()
    (road.folder / "data/raw").rmdir()
    done = road.go(road.commands["empty"])
    assert done.returncode == 0, done.stderr
    assert road.raw()["data/raw"] == road.bits["data/raw"]


@pytest.mark.parametrize(
    ("place", "full"), [("split", "models"), ("scored", ".retune/scratch"), ("scored", ".retune/remote")]
)
def test_a_run_on_a_full_disk_fails_and_goes_on_when_there_is_room(road, small_disk, place, full):
    road.begin(place)
    subprocess.run(["cp", "-a", str(road.folder / full), str(road.folder / "aside")], check=False)
    small_disk(road.folder / full, 400)
    if full == "models":
        for name in (".gitignore", "start.json", "reports"):  # what stands beside the model
            subprocess.run(["cp", "-a", str(road.folder / "aside" / name), str(road.folder / full)], check=True)
    told = fails(road, place)
    assert "o space left" in told, told
    small_disk.away()
    subprocess.run(["rm", "-rf", str(road.folder / "aside")], check=True)
    mended(road, place)


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
def test_a_disk_that_fills_up_is_told_and_what_it_holds_is_gone_on_from(road, small_disk, place, full, kilobytes):
    road.begin(place)
    small_disk.over(road.folder / full, kilobytes)
    told = fails(road, place)
    print(told)
    assert "o space left" in told or "disk is full" in told
    assert "make room" in told
    assert "Traceback" not in told[told.index("retune: ") :], "what the command says for itself is words"
    assert road.champion() == [1]
    small_disk.make_room()
    mended(road, place)


# ---- the registry


@pytest.fixture
def busy(road):
    """Holds the registry's file for writing by itself, from another process, for some seconds."""
    program = (
        "import sqlite3, sys, time; held = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "held.execute('pragma busy_timeout = 20000'); held.execute('begin exclusive'); print('held', flush=True)\n"
        "time.sleep(float(sys.argv[2]))"
    )
    started = []

    def hold(seconds):
        words = [sys.executable, "-c", program, str(road.folder / ".retune/mlflow.db"), str(seconds)]
        started.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout.readline() == "held\n"

    yield hold
    for process in started:
        process.kill()
        process.communicate()


def test_a_busy_registry_is_waited_for(road, busy):
    road.begin("scored")
    process = road.clone.start(*road.commands["scored"])
    lines = follow(process)
    until(lines, "Task run 'split'")
    busy(10)
    assert process.wait(300) == 0, "".join(lines)
    assert road.wrong() == []


def test_a_registry_that_stays_busy_is_named(road, busy):
    road.begin("scored")
    busy(120)
    told = fails(road)
    assert "database is locked" in told


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


def test_a_registry_that_is_away_in_the_middle_of_a_run_is_waited_for(road, tmp_path, port, wait_for_server):
    road.begin("scored")
    server = serve(tmp_path, port)
    try:
        wait_for_server(f"http://127.0.0.1:{port}/health", server)
        road.clone.env["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{port}"
        process = road.clone.start(*road.commands["scored"])
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
        road.clone.env.pop("MLFLOW_TRACKING_URI", None)
        end(server)


def test_a_registry_that_is_not_there_is_named(road, port):
    road.begin("scored")
    told = fails(road, MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}", MLFLOW_HTTP_REQUEST_MAX_RETRIES="1")
    assert f"127.0.0.1:{port}" in told or f"port={port}" in told


# ---- the DVC remote


def test_a_push_that_fails_half_way_is_told_and_made_up_for(road, small_disk):
    road.begin("scored")
    small_disk(road.folder / ".retune/remote", 200)
    told = fails(road)
    assert "dvc push" in told and "o space left" in told
    assert road.look()["versions"] == ["classifier/1"], "nothing is registered without its bytes"
    small_disk.away()
    mended(road)
    assert json.loads(road.clone.dvc("status", "--cloud", "--json").stdout) == {}


# ---- a checkpoint, and a second trainer


def test_a_damaged_checkpoint_is_never_gone_on_from(road):
    road.begin("split")
    settings = ["train.method=lora", "train.lora.rank=2", "train.epochs=3"]
    road.clone.python("-c", f"from flows.project import params_editor; params_editor.write({settings!r})")
    repro = ("repro", "--force", "--single-item", "train")
    assert road.clone.dvc(*repro).returncode == 0
    whole = road.hashes()["models/candidate"]
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", *repro],
        cwd=road.folder,
        env=road.clone.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    end_of_wait = time.monotonic() + 120
    while not (found := list(road.folder.glob(".retune/checkpoints/*/choose/step-*"))):
        assert time.monotonic() < end_of_wait
        time.sleep(0.02)
    beside = road.clone.dvc(*repro)
    assert beside.returncode, "a second trainer of the same model must be refused"
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    newest = sorted(road.folder.glob(".retune/checkpoints/*/choose/step-*"))[-1] / "tensors.safetensors"
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    assert found
    again = road.clone.dvc(*repro)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "is damaged and is left out" in again.stdout
    assert road.hashes()["models/candidate"] == whole


# ---- two at once


def test_two_runs_of_one_fingerprint_in_two_worktrees_make_one_version(road):
    road.begin("scored")
    beside = road.folder / ".retune/beside"
    road.clone.git("worktree", "add", "--quiet", "--detach", str(beside))
    other = type(road.clone)(beside, road.clone.env)
    kept_by_git = [path.relative_to(road.folder) for path in road.folder.glob("models/reports/*.json")]
    for name in ("params.yaml", "dvc.lock", "data/raw.dvc", "data/curated/accepted.json", *kept_by_git):
        (beside / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(road.folder / name, beside / name)
    assert other.dvc("cache", "dir", "--local", road.folder / ".dvc/cache").returncode == 0
    assert (done := other.dvc("checkout")).returncode == 0, done.stderr
    both = [clone.start(*road.commands["scored"]) for clone in (road.clone, other)]
    said = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("Registered classifier/2: champion." in told for told in said) == 1, said
    told = road.look()
    assert {name: told[name] for name in ("versions", "aliases", "events")} == {
        name: road.seen[name] for name in ("versions", "aliases", "events")
    }
    assert told["broken"] == []
