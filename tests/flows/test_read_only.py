"""A clone on a disk that nobody may write to: what only reads works, all else says so in one line, at once."""

import os
import subprocess
import time

import pytest


@pytest.fixture
def read_only_clone(own_clone, tmp_path_factory):
    """The clone as it looks on a disk that is mounted for reading only."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a folder for reading only")
    assert own_clone.retune("models").returncode == 1  # .retune is there, as in every clone that was used
    where = tmp_path_factory.mktemp("sealed")
    mount = ["mount", "--bind", "-o", "ro", str(own_clone.folder), str(where)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted for reading only here: {mounted.stderr.strip()}")
    try:
        yield type(own_clone)(where)
    finally:
        subprocess.run(["umount", "--lazy", where], check=True)


@pytest.mark.slow
def test_what_cannot_be_written_is_named_with_what_to_do(read_only_clone):
    for words in (
        ["retrain"],
        ["retrain", "--dry-run"],
        ["run", "-S", "train.epochs=1"],
        ["ingest", "tests/samples/tickets.csv", "--text", "body", "--label", "queue"],
        ["forget", "T-1", "--reason", "asked"],
        ["quarantine", "release", "a.parquet", "--reason", "good after all"],
        ["rollback", "--reason", "worse"],
        ["up", "--database", "sqlite"],
    ):
        began = time.monotonic()
        done = read_only_clone.retune(*words)
        assert done.returncode == 3, (words, done.stdout, done.stderr)
        assert len(done.stderr.splitlines()) == 1 and done.stdout == "", (words, done.stdout, done.stderr)
        assert (
            str(read_only_clone.folder) in done.stderr and "cannot be written to: Read-only file system" in done.stderr
        )
        assert "Mount that disk for writing" in done.stderr
        assert time.monotonic() - began < 20, words
    for words, code in ((["models"], 1), (["history"], 1), (["quarantine", "list"], 1), (["clean"], 0)):
        done = read_only_clone.retune(*words)
        assert done.returncode == code and "Read-only" not in done.stderr, (words, done.stderr)
