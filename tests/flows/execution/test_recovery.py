"""What a killed process left half done, made by hand, and what `repair` makes of it and says."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.execution import dvc, recovery
from retune.data import unfinished_ingest
from retune.registry import backend
from retune.system.dvc_files import RAW


@pytest.fixture
def dead_process():
    """The number of a process that has died."""
    process = subprocess.Popen([sys.executable, "-S", "-c", "pass"])
    process.wait()
    return process.pid


@pytest.fixture(autouse=True)
def registry_in_tmp(tmp_path, monkeypatch):
    monkeypatch.setattr(backend, "state", lambda: tmp_path / ".retune")


def test_a_half_written_file_goes_if_its_writer_died(tmp_path, monkeypatch, dead_process):
    monkeypatch.chdir(tmp_path)
    for path in (
        f"data/raw/.rows.parquet.{dead_process}.tmp",
        f".params.yaml.{dead_process}.tmp",
        f"data/.mine.{os.getpid()}.tmp",
    ):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
    lines = list(recovery.half_written())
    assert len(lines) == 2 and "rows.parquet" in lines[1]
    assert [path.name for path in tmp_path.rglob("*.tmp")] == [f".mine.{os.getpid()}.tmp"]


def test_scratch_folders_of_the_dead_are_swept(tmp_path, dead_process):
    for process in (dead_process, os.getpid()):
        (tmp_path / ".retune/scratch" / f"{process}-abc/packed").mkdir(parents=True)
    (line,) = recovery.scratch()
    assert f"{dead_process}-abc" in line
    assert [path.name for path in (tmp_path / ".retune/scratch").iterdir()] == [f"{os.getpid()}-abc"]


def test_checkpoints_that_nobody_went_on_from_are_swept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, days in (("old", 8), ("new", 1)):
        folder = Path(".retune/checkpoints") / name / "choose/step-00000001"
        folder.mkdir(parents=True)
        for path in (folder, *folder.parents[:2]):
            os.utime(path, (time.time() - days * recovery.DAY,) * 2)
    assert len(list(recovery.old_checkpoints())) == 1
    assert [path.name for path in Path(".retune/checkpoints").iterdir()] == ["new"]


def test_nothing_is_mended_where_nothing_is_broken(tiny_pipeline):
    assert recovery.files() == []


def note_of_a_killed_ingest():
    with unfinished_ingest.announced(RAW):
        note = unfinished_ingest.NOTE.read_bytes()
    unfinished_ingest.NOTE.write_bytes(note)


def test_an_ingest_that_was_cut_off_before_dvc_knew_is_finished(tiny_pipeline):
    note_of_a_killed_ingest()
    tiny_pipeline.write("data/raw/two.txt", "leek\n")
    (line,) = recovery.files()
    assert "finished an interrupted ingest" in line and "two.txt" in line
    assert "data/raw.dvc" not in dvc.status()
    assert recovery.files() == []


@pytest.mark.parametrize("share", [0, 0.3, 0.95])
def test_a_torn_pointer_is_written_again(tiny_pipeline, share):
    whole = Path("data/raw.dvc").read_bytes()
    note_of_a_killed_ingest()
    Path("data/raw.dvc").write_bytes(whole[: int(len(whole) * share)])
    (line,) = recovery.files()
    assert "finished an interrupted ingest" in line
    assert Path("data/raw.dvc").read_bytes() == whole


@pytest.mark.parametrize("share", [0, 0.5, 0.9])
def test_a_torn_lock_is_filled_again_from_the_cache(tiny_pipeline, share):
    whole = Path("dvc.lock").read_bytes()
    Path("dvc.lock").write_bytes(whole[: int(len(whole) * share)])
    assert all("damaged" in line for line in recovery.files())  # cut between two stages, it says nothing wrong
    lines = []
    for name in ("cook", "serve"):
        dvc.run(name, lines.append)
    assert Path("dvc.lock").read_bytes() == whole
    assert not [line for line in lines if line.startswith("Running stage")]
