import hashlib
import os
import stat
from pathlib import Path

import pytest

from retune.errors import WrongUse
from retune.system import files


def test_hashes_are_those_of_the_standard_tools(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"content")
    assert files.file_sha256(file) == hashlib.sha256(b"content").hexdigest()
    assert files.file_md5(file) == files.bytes_md5(b"content") == hashlib.md5(b"content").hexdigest()


def test_a_file_is_replaced_and_its_folder_made(tmp_path):
    file = tmp_path / "folder" / "file"
    files.write_text(file, "erste Zeile: ä\n")
    files.write_bytes(file, b"second\n")
    assert file.read_bytes() == b"second\n"
    assert list(file.parent.iterdir()) == [file]


def test_an_error_leaves_the_file_as_it_was(tmp_path):
    file = tmp_path / "file"
    files.write_text(file, "before")
    with pytest.raises(ValueError, match="stop"), files.replace_whole(file) as unfinished:
        Path(unfinished).write_text("half", "utf-8")
        raise ValueError("stop")
    assert file.read_text("utf-8") == "before"
    assert list(tmp_path.iterdir()) == [file]


def test_only_its_owner_reads_a_private_file(tmp_path):
    files.write_private_text(tmp_path / "secret", "word")
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_a_device_or_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WrongUse, match="is a device or a pipe"):
        files.write_text(tmp_path / "pipe", "words")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode) and len([*tmp_path.iterdir()]) == 1
