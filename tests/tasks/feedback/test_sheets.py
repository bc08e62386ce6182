import csv
import io

import pytest

from retune.errors import Refused, WrongUse
from retune.serving import feedback
from retune.serving.feedback import Feedback
from tasks.feedback import sheets
from tasks.feedback.sheets import Panel
from tests.support import served

NOW = 100_000.0
ALONE = Panel(1, 0.5)


@pytest.fixture
def engine(tmp_path):
    return served.database_in(tmp_path)


def serve(engine, count, at=1000.0, **changes):
    """Answers that the log holds: requests r<at>-<number>."""
    log = {"text": changes.pop("kept", "redacted")}
    rows = [
        served.answer(f"parcel {number}", **({"time": at, "request_id": f"r{at:g}-{number}"} | changes))
        for number in range(count)
    ]
    served.write(engine, rows, **log)


def export(engine, tmp_path, rows=10, panel=ALONE, now=NOW):
    return sheets.export(engine, "desk", rows, panel, ["shipping", "refunds"], tmp_path / "out", now)


def dispute(engine, request_id, time=2000.0):
    feedback.add(engine, Feedback(request_id, 0, request_id, time, label="refunds"), 60)


def lines(path):
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"))))


def test_a_disputed_answer_is_likelier_to_be_drawn_and_brings_what_people_said(engine, tmp_path):
    serve(engine, 100)
    disputed = {f"r1000-{number}" for number in range(5)}
    for request_id in disputed:
        dispute(engine, request_id)
    drawn = export(engine, tmp_path, 20)
    assert (len(drawn.reviews), drawn.requests) == (20, 100)
    assert drawn.disputed == len(disputed & {review.request_id for review in drawn.reviews}) >= 1
    by_kind = {review.request_id in disputed: review.chance for review in drawn.reviews}
    assert by_kind[True] > 3 * by_kind[False] > 0
    for row in lines(drawn.files[0]):
        assert row["suggested"] == ("refunds" if row["id"].removesuffix(":0") in disputed else "")
    assert "Suggested" in drawn.files[1].read_text("utf-8")


def test_the_next_sheet_draws_from_what_came_since_and_disputes_that_came_late(engine, tmp_path):
    serve(engine, 30)
    drawn_first = {each.request_id for each in export(engine, tmp_path).reviews}
    undrawn = next(f"r1000-{number}" for number in range(30) if f"r1000-{number}" not in drawn_first)
    dispute(engine, undrawn, NOW)
    serve(engine, 3, at=NOW)
    second = export(engine, tmp_path, now=NOW + 1000)
    assert {each.request_id: each.chance for each in second.reviews} == {
        undrawn: None,
        **{f"r{NOW:g}-{number}": 1.0 for number in range(3)},
    }
    with pytest.raises(Refused, match="no answer with its text was served since the last sheet"):
        export(engine, tmp_path, now=NOW + 1000)


def test_what_somebody_chose_meanwhile_counts_for_itself(engine, tmp_path):
    serve(engine, 10)
    keys = [("r1000-0", 0), ("r1000-1", 0)]
    panel = Panel(1, 0.0)
    chosen_sheet = sheets.export_chosen(engine, "desk", keys, panel, tmp_path / "out", NOW)
    assert {review.chance for review in chosen_sheet.reviews} == {None}
    drawn = export(engine, tmp_path, 4)
    assert drawn.requests == 10 and not {review.key for review in drawn.reviews} & set(keys)
    chances = {review.key: review.chance for review in feedback.reviews(engine)}
    assert [chances[key] for key in keys] == [1.0, 1.0]
    assert sum(1 / chance for chance in chances.values()) == pytest.approx(10)


@pytest.mark.parametrize(
    "changes",
    [{"arm": "shadow"}, {"error": "deadline", "label": ""}, {"kept": "hashed"}, {"model": "x"}, {"time": NOW - 1}],
)
def test_what_nobody_got_or_nobody_can_read_is_not_drawn(engine, tmp_path, changes):
    serve(engine, 2)
    serve(engine, 1, at=2000.0, **changes)
    assert {review.request_id for review in export(engine, tmp_path).reviews} == {"r1000-0", "r1000-1"}


def test_some_rows_go_to_two_reviewers_and_each_row_to_one(engine, tmp_path):
    serve(engine, 10)
    drawn = export(engine, tmp_path, 10, Panel(3, 0.4))
    ids = [row["id"] for path in drawn.files if path.suffix == ".csv" for row in lines(path)]
    assert len(drawn.files) == 6
    assert (len(ids), len(set(ids))) == (14, 10)


def test_a_folder_that_cannot_be_written_draws_nothing(engine, tmp_path):
    serve(engine, 5)
    (tmp_path / "out").write_text("")
    with pytest.raises(WrongUse, match="--out"):
        export(engine, tmp_path)
    assert feedback.reviews(engine) == []


def test_of_two_requests_with_one_id_the_first_is_drawn(engine, tmp_path):
    serve(engine, 2)
    serve(engine, 1, at=2000.0, request_id="r1000-0")
    assert [review.asked for review in export(engine, tmp_path).reviews] == [1000.0, 1000.0]
