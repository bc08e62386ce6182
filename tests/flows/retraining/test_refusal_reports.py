"""The report of a refusal outlives the folder of its run, for as long as rows are set aside because of it."""

from pathlib import Path

import pytest

from flows.retraining import refusal_reports
from retune.data.intake_branch import Aside
from retune.errors import Refused
from tests.support.git_repo import git, init_repository


@pytest.fixture
def in_a_run(tmp_path, monkeypatch):
    """The worktree of a run that was refused, and the files that the refusal names."""
    clone, run = tmp_path / "clone", tmp_path / "clone/.retune/runs/brave-newt"
    clone.mkdir()
    init_repository(clone)
    git("worktree", "add", "-q", str(run), cwd=clone)
    (run / "models/reports/data_docs").mkdir(parents=True)
    (run / "models/reports/validate.json").write_text("{}")
    (run / "models/reports/data_docs/index.html").write_text("<html>")
    monkeypatch.chdir(run)
    reports = run / "models/reports"
    return reports / "validate.json", reports / "data_docs/index.html", Path("/elsewhere/rows.csv")


def test_a_refusal_names_files_that_are_there_when_the_folder_of_the_run_is_gone(in_a_run):
    report_folder = refusal_reports.keep("brave-newt")
    paths = refusal_reports.move(in_a_run, report_folder)
    assert report_folder == Path.cwd().parents[1] / "refusals/brave-newt"
    assert paths == (
        report_folder / "validate.json",
        report_folder / "data_docs/index.html",
        Path("/elsewhere/rows.csv"),
    )
    assert (report_folder / "validate.json").exists() and (report_folder / "data_docs/index.html").exists()


def test_it_is_swept_when_no_row_is_set_aside_because_of_it_any_more(in_a_run):
    report_folder = refusal_reports.keep("brave-newt")
    refusal = Refused("the data fails", paths=refusal_reports.move(in_a_run, report_folder))
    aside = Aside(f"the run was refused: {refusal}", "2026-11-25", 3)
    assert refusal_reports.sweep([aside]) == [] and report_folder.exists()
    assert refusal_reports.sweep([]) == [report_folder] and not report_folder.exists()
    assert refusal_reports.sweep([]) == []
