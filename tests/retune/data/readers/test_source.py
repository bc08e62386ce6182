"""Folders of parts."""

import pandas as pd
import pytest

from retune.data.readers.source import read
from retune.errors import WrongUse


def test_a_folder_of_parts_is_one_table_with_the_keys_of_its_paths(tmp_path):
    for label in ("a", "b c"):
        folder = tmp_path / "t.parquet" / f"label={label.replace(' ', '%20')}"
        folder.mkdir(parents=True)
        pd.DataFrame({"text": [f"{label} 1", f"{label} 2"]}).to_parquet(folder / "part-0.parquet")
    (tmp_path / "t.parquet" / "_SUCCESS").touch()
    (tmp_path / "t.parquet" / "_metadata.csv").write_text("x")
    table = read(str(tmp_path / "t.parquet"))
    assert [*zip(table.column("text"), table.column("label"), strict=True)] == [
        ("a 1", "a"),
        ("a 2", "a"),
        ("b c 1", "b c"),
        ("b c 2", "b c"),
    ]


def test_a_folder_without_a_file_that_is_read_is_wrong_use(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(WrongUse, match="holds no file that is read"):
        read(str(tmp_path))


def test_a_reject_of_a_part_names_its_file_and_line(tmp_path):
    (tmp_path / "1.csv").write_text("text,label\na,b\nc\nd,e\n")
    (tmp_path / "2.csv").write_text("text,label\nf,g\n")
    table = read(str(tmp_path))
    assert table.column("text") == ["a", "d", "f"]
    assert table.rejects[0].fault.message.startswith("1.csv, line 3: 1 fields")
