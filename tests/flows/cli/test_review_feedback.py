"""`retune review feedback` in a clone: from what was served to rows in data/raw."""

import csv
import io
import json
import time
from pathlib import Path

import pytest

from flows.cli import review_feedback
from retune.data import row_table
from retune.serving import database, feedback
from retune.serving.feedback import Feedback
from tests.support import served


@pytest.fixture
def desk(clone, monkeypatch):
    """A clone whose champion is taken to know two labels, and which has answered six texts an hour ago."""
    monkeypatch.setattr(review_feedback, "_labels", lambda _: ["refunds", "shipping"])
    (clone.folder / ".retune").mkdir(exist_ok=True)
    engine = served.database_in(clone.folder / ".retune")
    with engine.begin() as connection:  # the clone is that of all tests here
        for table in database.METADATA.sorted_tables:
            connection.execute(table.delete())
    now = time.time() - 3600
    rows = [served.answer(f"where is my parcel {'abcdef'[n]}", n, model="classifier", time=now + n) for n in range(6)]
    served.write(engine, rows)
    for number in range(3):
        feedback.add(engine, Feedback(f"r{number}", 0, "somebody", now + 60, label="refunds"), 60)
    return clone


def fill_in(path, verdict_of):
    """Answer each row of a sheet."""
    rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"))))
    table = io.StringIO()
    writer = csv.DictWriter(table, rows[0])
    writer.writeheader()
    writer.writerows({**row, "verdict": verdict_of(row), "reviewer": "Ada"} for row in rows)
    path.write_text(table.getvalue(), "utf-8")


def test_feedback_goes_out_comes_back_and_becomes_rows_once(desk):
    drawn = json.loads(desk.call("review", "feedback", "export", "--json").stdout)
    assert (drawn["rows"], drawn["requests"], drawn["disputed"]) == (6, 6, 3)
    sheet = Path(drawn["files"][0])
    fill_in(sheet, lambda row: "suggested" if row["suggested"] else "keep")
    read = desk.call("review", "feedback", "import", sheet)
    assert read.returncode == 0, read.stderr
    assert read.stdout.splitlines() == [
        "6 verdicts added, 0 there already.",
        "6 accepted rows: 6 added to data/raw as the source feedback, 0 corrected, 0 there already. "
        "`retune run` learns from them.",
    ]
    rows = row_table.read(desk.folder / "data/raw").set_index("id")
    assert set(rows["source"]) == {"feedback"}
    assert rows.loc["request:r0:0", "label"] == "refunds"
    assert rows.loc["request:r5:0", "label"] == "shipping"
    again = json.loads(desk.call("review", "feedback", "import", sheet, "--json").stdout)
    assert (again["judged"], again["ingested"], len(again["known"])) == (0, 0, 6)


def test_status_shows_the_week_and_what_waits(desk):
    nothing = json.loads(desk.call("review", "feedback", "status", "--json").stdout)
    assert nothing == {"feedback": 3, "unreviewed": 0, "to_ingest": 0, "weeks": []}
    drawn = json.loads(desk.call("review", "feedback", "export", "--json").stdout)
    fill_in(Path(drawn["files"][0]), lambda row: "drop" if row["id"] == "r0:0" else "keep")
    desk.call("review", "feedback", "import", drawn["files"][0])
    week_status = json.loads(desk.call("review", "feedback", "status", "--json").stdout)
    assert (week_status["feedback"], week_status["to_ingest"]) == (0, 0)
    assert [week["accuracy"]["value"] for week in week_status["weeks"]] == [1.0]
    assert "verdicts" in desk.call("review", "feedback", "status").stdout


def test_nothing_served_is_said_in_a_line(clone, monkeypatch):
    monkeypatch.setattr(review_feedback, "_labels", lambda _: [])
    done = clone.call("review", "feedback", "export")
    assert done.returncode == 1
    assert "no answer with its text was served since the last sheet" in done.stderr
