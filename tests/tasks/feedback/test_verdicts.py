from dataclasses import replace

import pytest

from retune.data.label_verdicts import digest
from retune.errors import Refused
from retune.serving import feedback, served_rows
from retune.serving.feedback import RIGHT, UNUSABLE, WRONG, Feedback, Review
from tasks.feedback import verdicts
from tests.support import served

LABELS = ("shipping", "refunds")
FIRST = Review("r0", 0, "desk", "s", 2000.0, 1000.0, 0.5, "shipping", digest("parcel 0"))


@pytest.fixture
def engine(tmp_path):
    engine = served.database_in(tmp_path)
    served.write(engine, [served.answer(f"parcel {number}", number) for number in range(6)])
    feedback.draw(
        engine,
        [replace(FIRST, request_id=f"r{number}", text_sha256=digest(f"parcel {number}")) for number in range(6)],
    )
    return engine


def sheet(tmp_path, reviewer, **cells):
    """A file of verdicts: r0="keep"."""
    lines = ["sheet,id,text,label,suggested,score,verdict,new_label,reviewer,note,text_sha256"]
    for request_id, verdict in cells.items():
        text = f"parcel {request_id.removeprefix('r')}"
        lines.append(f"s,{request_id}:0,{text},shipping,refunds,1,{verdict},,,,{digest(text)}")
    path = tmp_path / f"{reviewer}.csv"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def read(engine, *files):
    return verdicts.import_(engine, files, LABELS, False)


def accepted(engine, rows_per_person=50):
    rows, over_quota = verdicts.to_ingest(engine, "desk", rows_per_person, 0.0)
    return {row.id: (row.text, row.label) for row in rows}, over_quota


def test_what_reviewers_say_is_a_verdict_and_what_they_accept_a_row(engine, tmp_path):
    file = sheet(tmp_path, "Ada", r0="keep", r1="suggested", r2="drop", r3="")
    judged = [(each.verdict, each.label, each.reviewers) for each in read(engine, file).judged]
    assert judged == [(RIGHT, "shipping", "Ada"), (WRONG, "refunds", "Ada"), (UNUSABLE, None, "Ada")]
    expected = {"request:r0:0": ("parcel 0", "shipping"), "request:r1:0": ("parcel 1", "refunds")}
    assert accepted(engine) == (expected, [])
    assert read(engine, file).known == ["r0:0", "r1:0", "r2:0"]
    feedback.mark_ingested(engine, [("r0", 0), ("r1", 0)])
    assert accepted(engine) == ({}, [])
    assert feedback.reviews(engine)[0].chance == FIRST.chance


def test_reviewers_who_disagree_leave_the_answer_as_it_was_and_their_agreement_is_counted(engine, tmp_path):
    ada, grace = sheet(tmp_path, "Ada", r0="keep", r1="keep"), sheet(tmp_path, "Grace", r0="suggested", r1="keep")
    result = read(engine, ada, grace)
    assert result.conflicts == ["r0:0: Ada says shipping; Grace says refunds"]
    assert [(each.reviewers, each.agreed) for each in result.agreement] == [(("Ada", "Grace"), 0.5)]
    assert list(accepted(engine)[0]) == ["request:r1:0"]
    later = read(engine, sheet(tmp_path, "Bo", r1="drop"))
    assert later.conflicts == ["r1:0: before, Ada and Grace: shipping; Bo says drop"]


@pytest.mark.parametrize(
    ("part", "instead"), [("r1:0", "r9:0"), ("r1:0", "r1:1"), ("r1:0", "x"), (digest("parcel 1"), digest("parcel 2"))]
)
def test_a_row_of_no_sheet_is_refused_and_nothing_is_taken(engine, tmp_path, part, instead):
    path = sheet(tmp_path, "Ada", r0="keep", r1="keep")
    path.write_text(path.read_text("utf-8").replace(part, instead), "utf-8")
    with pytest.raises(Refused, match="no sheet of this project"):
        read(engine, path)
    assert accepted(engine) == ({}, [])


def test_one_person_brings_only_so_many_rows(engine, tmp_path):
    for number, person in enumerate(["loud", "loud", "loud", "loud", "quiet"]):
        feedback.add(engine, Feedback(f"r{number}", 0, person, 1500.0, label="refunds"), 60)
    verdict_of = dict.fromkeys([f"r{number}" for number in range(5)], "suggested")
    read(engine, sheet(tmp_path, "Ada", **verdict_of, r5="keep"))
    rows, over_quota = accepted(engine, rows_per_person=2)
    assert over_quota == ["r2:0", "r3:0"]
    assert list(rows) == [f"request:r{number}:0" for number in (0, 1, 4, 5)]
    feedback.mark_ingested(engine, [("r0", 0), ("r1", 0)])
    assert accepted(engine, rows_per_person=2)[1] == ["r2:0", "r3:0"], "also the next time"


def test_a_row_whose_text_is_forgotten_is_left_out(engine, tmp_path):
    read(engine, sheet(tmp_path, "Ada", r0="keep", r1="keep"))
    served_rows.forget(engine, ["parcel 0"])
    assert list(accepted(engine)[0]) == ["request:r1:0"]


def test_files_without_a_verdict_are_refused(engine, tmp_path):
    with pytest.raises(Refused, match="hold no verdict"):
        read(engine, sheet(tmp_path, "Ada", r0=""))
