import csv
from pathlib import Path

import pytest

from retune.data import label_verdicts
from retune.errors import Refused, WrongUse
from tasks.data_quality import review
from tasks.data_quality.labels import Doubt, Examination
from tests.support.curated import write_curated_rows
from tests.support.environment import ROOT

ROWS = [("1", "my money", "billing"), ("2", "asdf", "billing"), ("3", "thanks", "refunds")]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text("utf-8"), "utf-8")
    write_curated_rows(ROWS)
    doubts = [Doubt(*row, "refunds", 0.9) for row in ROWS[:2]] + [Doubt(*ROWS[2], "billing", 0.1)]
    examination = Examination(3, 1.0, "a base", 0, {}, doubts, [], [])
    monkeypatch.setattr(review, "examine_clone", lambda say: examination)
    return tmp_path


def fill_in(path, **verdicts):
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = [{**line, "verdict": verdicts.get(f"of_{line['id']}", "")} for line in csv.DictReader(file)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)


def test_a_sheet_goes_out_with_the_doubtful_rows_and_its_verdicts_come_back(folder):
    sheet, files = review.export(50, folder / "review", print)
    assert [row["id"] for row in sheet.rows] == ["1", "2"] and sheet.labels == ["billing", "refunds"]
    assert "my money" in files["page"].read_text("utf-8")
    fill_in(files["csv"], of_1="suggested", of_2="drop")
    assert review.import_([files["csv"]], False, "2026-11-30").added == ["1", "2"]
    before = label_verdicts.FILE.read_bytes()
    assert [verdict.after for verdict in label_verdicts.read().values()] == ["refunds", None]
    assert review.import_([files["csv"]], False, "2026-12-24").known == ["1", "2"]  # though the rows are older now
    assert label_verdicts.FILE.read_bytes() == before


def test_an_empty_sheet_and_a_folder_that_cannot_be_are_refused(folder):
    _, files = review.export(50, folder / "review", print)
    with pytest.raises(Refused, match="these files hold no verdict"):
        review.import_([files["csv"]], False, "2026-11-30")
    (folder / "file").write_text("")
    with pytest.raises(WrongUse, match="cannot be written"):
        review.export(50, folder / "file/review", print)
