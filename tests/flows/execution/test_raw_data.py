"""What git and people do to data/raw and its pointer, and that no check takes it for something else."""

import json
import shutil
from pathlib import Path

import pytest

from flows.execution import plan, raw_data, recovery
from retune.data import unfinished_ingest
from retune.errors import Refused
from retune.registry import backend
from retune.system import dvc_files
from retune.system.dvc_files import POINTER, RAW

SIDES = b"""\
outs:
<<<<<<< HEAD
- md5: 11111111111111111111111111111111.dir
=======
- md5: 22222222222222222222222222222222.dir
>>>>>>> colleague
  path: raw
"""


@pytest.fixture(autouse=True)
def registry_in_tmp(tmp_path, monkeypatch):
    monkeypatch.setattr(backend, "state", lambda: tmp_path / ".retune")


def refusal(check=raw_data.require_followed):
    with pytest.raises(Refused) as caught:
        check()
    return str(caught.value)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_conflict_markers_are_told_and_the_file_stays(git_repository, line_end):
    content = SIDES.replace(b"\n", line_end)
    for name in ("params.yaml", "data/suppressed.json", "dvc.lock", "data/raw.dvc"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(content)
        assert f"{name} is in a merge conflict" in refusal(recovery.files)
        assert Path(name).read_bytes() == content
        if name != "data/raw.dvc":
            Path(name).unlink()


def test_a_conflict_that_only_the_index_knows_is_told(tiny_pipeline):
    tiny_pipeline.git("add", "-A")
    tiny_pipeline.git("commit", "-q", "-m", "records")
    tiny_pipeline.git("checkout", "-q", "-b", "colleague")
    tiny_pipeline.write("cook.py", "theirs\n")
    tiny_pipeline.git("commit", "-q", "-am", "theirs")
    tiny_pipeline.git("checkout", "-q", "main")
    tiny_pipeline.git("rm", "-q", "cook.py")
    tiny_pipeline.git("commit", "-q", "-am", "ours")
    with pytest.raises(AssertionError):
        tiny_pipeline.git("merge", "-q", "colleague")
    assert "cook.py is in a merge conflict" in refusal(raw_data.require_merged)


def test_a_pointer_with_other_line_ends_is_whole(tiny_pipeline):
    content = POINTER.read_bytes().replace(b"\n", b"\r\n")
    POINTER.write_bytes(content)
    assert recovery.files() == []
    assert POINTER.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"outs:\n- md5: 12", b"# mine\n", b"\xff"])
def test_a_damaged_pointer_that_no_ingest_left_is_told(tiny_pipeline, content):
    POINTER.write_bytes(content)
    assert "is damaged" in refusal(recovery.files)
    assert POINTER.read_bytes() == content


def test_a_pointer_that_went_back_is_no_interrupted_ingest(tiny_pipeline):
    before = POINTER.read_bytes()
    tiny_pipeline.write("data/raw/two.txt", "leek\n")
    assert "data/raw is not what data/raw.dvc names: two.txt is not named" in refusal(recovery.files)
    assert POINTER.read_bytes() == before
    assert Path("data/raw/two.txt").exists()


def test_parts_that_git_brought_are_checked_out_if_the_cache_has_them(tiny_pipeline):
    Path("data/raw/one.txt").unlink()
    assert "one.txt is missing" in refusal()
    (line,) = recovery.files()
    assert line.startswith("checked out one.txt")
    assert Path("data/raw/one.txt").read_text("utf-8") == "potato\n"


def test_parts_that_are_nowhere_are_told_and_nothing_is_changed(tiny_pipeline):
    entry = f"outs:\n- md5: {'0' * 32}.dir\n  size: 9\n  nfiles: 2\n  hash: md5\n  path: raw\n"
    POINTER.write_text(entry, "utf-8")
    assert "names 2 files that are not in the DVC cache" in refusal(recovery.files)
    assert POINTER.read_text("utf-8") == entry


def test_rows_without_a_pointer_are_told(tiny_pipeline):
    POINTER.unlink()
    assert "there is no data/raw.dvc that names them" in refusal(recovery.files)


def test_an_edit_of_a_part_is_told(tiny_pipeline):
    tiny_pipeline.write("data/raw/one.txt", "turnip, which is longer\n")
    assert "one.txt has other bytes" in refusal(recovery.files)


def test_an_edit_of_the_same_length_is_told_by_the_plan(tiny_pipeline):
    tiny_pipeline.write("data/raw/one.txt", "carrot\n")
    raw_data.require_followed()  # which looks at sizes alone
    assert "data/raw has other bytes" in refusal(plan.plan)


def test_a_note_of_an_ingest_that_ended_covers_no_later_change(tiny_pipeline):
    unfinished_ingest.NOTE.parent.mkdir(exist_ok=True)
    unfinished_ingest.NOTE.write_text(json.dumps({"pointer": "older", "files": []}), "utf-8")
    assert recovery.files() == []
    assert not unfinished_ingest.NOTE.exists()


@pytest.mark.parametrize("name", ["data", "data/raw", "models"])
def test_a_folder_that_is_a_link_is_refused_with_the_cache_as_the_way_out(tiny_pipeline, tmp_path, name):
    shutil.move(name, tmp_path / "disk")
    Path(name).symlink_to(tmp_path / "disk")
    assert f"{name} is a link to" in (message := refusal(recovery.files))
    assert "dvc cache dir" in message


def test_nothing_is_wrong_where_nothing_is(scratch_folder):
    raw_data.require_merged()
    raw_data.require_no_links()
    raw_data.require_followed()
    assert not RAW.exists()


def test_a_line_of_equal_signs_alone_is_no_conflict():
    assert not dvc_files.in_conflict(b"a: b\n=======\n")
    assert dvc_files.in_conflict(SIDES)
