import json

import pytest

from retune.data.label_verdicts import Verdict, digest, read, write
from retune.errors import Refused

RELABELLED = Verdict("T-2", digest("Where is my money?"), "billing", "refunds", "Ada", "2026-11-30")
DROPPED = Verdict("T-1", digest("asdf"), "billing", None, "Ada", "2026-11-30")


def test_what_is_written_is_what_is_read_in_the_order_of_the_ids(tmp_path):
    write([RELABELLED, DROPPED], tmp_path / "verdicts.json")
    assert list(read(tmp_path / "verdicts.json").values()) == [DROPPED, RELABELLED]
    row = json.loads((tmp_path / "verdicts.json").read_text("utf-8"))["rows"][1]
    assert (row["id"], row["from"], row["to"], row["at"]) == ("T-2", "billing", "refunds", "2026-11-30")


def test_a_verdict_is_about_the_text_and_label_that_were_reviewed():
    assert RELABELLED.applies("Where is my money?", "billing")
    assert not RELABELLED.applies("Where is my money", "billing")
    assert not RELABELLED.applies("Where is my money?", "refunds")
    assert RELABELLED.in_force("Where is my money?", "refunds")
    assert (DROPPED.drops, RELABELLED.drops, RELABELLED.confirms) == (True, False, False)


def row(**changes):
    fields = {"id": "1", "text_sha256": "0" * 64, "from": "a", "to": "b", "reviewer": "Ada", "at": "2026-11-30"}
    return {**fields, **changes}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "Expecting property name"),
        ("[]", 'an object with the list "rows"'),
        (json.dumps({"rows": [{"id": "1"}]}), "row 1 must be an object"),
        (json.dumps({"rows": [row(), row(id="2", **{"from": None})]}), "row 2 must be an object"),
        (json.dumps({"rows": [row(to=" ")]}), "row 1 must be an object"),
        (json.dumps({"rows": [row(text_sha256="abc")]}), "text_sha256 of row 1 is 'abc'"),
        (json.dumps({"rows": [row(at="yesterday")]}), "day of row 1 is 'yesterday'"),
        (json.dumps({"rows": [row(), row(to="c")]}), "rows 1 and 2 are both of the id '1'"),
    ],
)
def test_a_damaged_file_is_refused_and_never_counts_as_empty(tmp_path, content, problem):
    (tmp_path / "verdicts.json").write_text(content, "utf-8")
    with pytest.raises(Refused, match=r"git checkout") as refused:
        read(tmp_path / "verdicts.json")
    assert problem in str(refused.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(Refused, match="is missing"):
        read(tmp_path / "verdicts.json")
