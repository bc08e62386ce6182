from pathlib import Path

import pytest

from retune.system import dvc_files

MD5 = f"{'a' * 32}.dir"
POINTER = f"outs:\n- md5: {MD5}\n  size: 7\n  nfiles: 1\n  hash: md5\n  path: raw\n"


def written(tmp_path, content):
    path = tmp_path / "raw.dvc"
    path.write_bytes(content.encode())
    return path


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_pointer_says_the_same_whatever_its_line_ends(tmp_path, line_end):
    assert dvc_files.pointer_md5(written(tmp_path, POINTER.replace("\n", line_end))) == MD5


@pytest.mark.parametrize("share", [0, 0.2, 0.5, 0.95])
def test_a_pointer_that_ends_too_early_is_damaged(tmp_path, share):
    with pytest.raises(dvc_files.Damaged, match=r"git checkout -- .*raw\.dvc"):
        dvc_files.pointer_md5(written(tmp_path, POINTER[: int(len(POINTER) * share)]))


def test_a_pointer_of_something_else_is_damaged(tmp_path):
    with pytest.raises(dvc_files.Damaged):
        dvc_files.pointer_md5(written(tmp_path, POINTER.replace("path: raw", "path: other")))


def test_the_two_sides_of_a_merge_are_a_conflict_with_its_own_remedy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    sides = f"outs:\n<<<<<<< HEAD\n{POINTER}=======\n{POINTER}>>>>>>> theirs\n"
    dvc_files.POINTER.write_text(sides, "utf-8")
    with pytest.raises(dvc_files.Conflict, match="retune ingest --merge"):
        dvc_files.load(dvc_files.POINTER)


def test_a_line_of_equal_signs_alone_is_no_conflict():
    assert not dvc_files.in_conflict(b"a: b\n=======\n")
