import json
import sys
import time
from pathlib import Path

import pytest

from retune.errors import Broken, Refused, RetuneError, WrongUse, from_line
from retune.system import stage_io


@pytest.mark.parametrize(("error", "code"), [(Refused, 1), (WrongUse, 2), (Broken, 3), (RetuneError, 3)])
def test_an_error_of_our_own_is_one_line_and_an_exit_code(monkeypatch, capsys, error, code):
    def main(rows: Path) -> None:
        raise error("the reason")

    monkeypatch.setattr(sys, "argv", ["stage", "rows.parquet"])
    with pytest.raises(SystemExit) as ended:
        stage_io.run(main)
    assert ended.value.code == code
    (line,) = capsys.readouterr().err.splitlines()
    read = from_line(line)
    assert (read.message, read.exit_code) == ("the reason", code)


def test_paths_reach_main_in_their_order(monkeypatch):
    paths = []
    monkeypatch.setattr(sys, "argv", ["stage", "a", "b/c"])
    stage_io.run(lambda rows, out: paths.extend([rows, out]))
    assert paths == [Path("a"), Path("b/c")]


@pytest.mark.parametrize("arguments", [[], ["a"], ["a", "b", "c"]])
def test_too_few_or_too_many_paths_are_wrong_use(monkeypatch, capsys, arguments):
    monkeypatch.setattr(sys, "argv", ["stage", *arguments])
    with pytest.raises(SystemExit) as ended:
        stage_io.run(lambda rows, out: None)
    assert ended.value.code == 2
    assert "ROWS OUT" in capsys.readouterr().err


def test_an_error_of_the_program_keeps_its_traceback_and_is_no_no(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["stage"])
    with pytest.raises(SystemExit) as ended:
        stage_io.run(lambda: 1 / 0)
    assert ended.value.code == 3
    assert "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize("value", [{"a": float("nan")}, {"a": object()}])
def test_json_that_cannot_be_written_leaves_the_old_file_and_nothing_else(tmp_path, value):
    path = tmp_path / "report.json"
    stage_io.write_json({"a": 1}, path)
    with pytest.raises((ValueError, TypeError)):
        stage_io.write_json(value, path)
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_json_keeps_its_order_its_letters_and_makes_its_folder(tmp_path):
    path = tmp_path / "new" / "report.json"
    stage_io.write_json({"z": "Zürich", "a": [1]}, path)
    text = path.read_text("utf-8")
    assert list(json.loads(text)) == ["z", "a"]
    assert "Zürich" in text
    assert text.endswith("}\n")


def test_progress_is_one_line_of_names_and_values(capsys):
    stage_io.progress(120, 900, train_loss=0.41213579, learning_rate=8.1e-5)
    assert capsys.readouterr().out == "progress step=120 of=900 train_loss=0.412136 learning_rate=8.1e-05\n"
    stage_io.progress(1, 2)
    assert capsys.readouterr().out == "progress step=1 of=2\n"


def test_work_that_reports_nothing_itself_is_said_to_go_on(capsys):
    with stage_io.heartbeat("fitting the probe", seconds=0.01):
        time.sleep(0.05)
    assert capsys.readouterr().out.splitlines()[0] == "still fitting the probe, 0 s so far"


def test_work_that_ends_soon_says_nothing(capsys):
    with pytest.raises(ZeroDivisionError), stage_io.heartbeat("dividing"):
        raise ZeroDivisionError
    assert capsys.readouterr().out == ""
