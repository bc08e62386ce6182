import pytest

from retune.serving import served_rows
from tests.support import served

COLUMNS = ["request_id", "arm", "time"]


@pytest.fixture
def engine(tmp_path):
    return served.database_in(tmp_path)


def test_a_window_holds_its_first_moment_and_not_its_last_and_only_its_model(engine):
    served.write(engine, [*(served.answer(number=number) for number in range(5)), served.answer(number=2, model="x")])
    frame = served_rows.window(engine, "desk", 1001, 1004, COLUMNS)
    assert frame["request_id"].tolist() == ["r1", "r2", "r3"]
    assert served_rows.window(engine, "desk", 1001, 1004, COLUMNS, most=2)["request_id"].tolist() == ["r1", "r3"]
    assert served_rows.window(engine, "desk", 2000, 3000, COLUMNS).columns.tolist() == COLUMNS
    assert served_rows.first_and_last(engine, "desk") == (1000, 1004)
    assert served_rows.first_and_last(engine, "nobody") is None


def test_what_each_arm_answered_is_counted(engine):
    served.write(
        engine,
        [
            served.answer(),
            served.answer(number=1, error="deadline", route="", label="", confidence=None),
            served.answer(number=1, arm="shadow", version="2", route="human"),
        ],
    )
    assert served_rows.counts_by_arm(engine, "desk", 0, 2000) == [
        {"version": "1", "arm": "champion", "answers": 2, "errors": 1, "automatic": 1},
        {"version": "2", "arm": "shadow", "answers": 1, "errors": 0, "automatic": 0},
    ]


@pytest.mark.parametrize(("mode", "count"), [("redacted", 2), ("hashed", 2), ("full", 2), ("none", 0)])
def test_a_forgotten_text_is_found_in_any_spelling_and_whatever_is_kept_of_it(engine, tmp_path, mode, count):
    spellings = ["Write to ann@example.org!", "write  to ANN@example.org"]
    rows = [served.answer(each, number, subject="ann") for number, each in enumerate(spellings)]
    served.write(engine, [*rows, served.answer("write to bob@example.org", 2, subject="bob")], text=mode)
    assert served_rows.forget(engine, ["write to ann@example.org", "never asked"]) == count
    for number in range(count):
        (row,) = served_rows.of_request(engine, f"r{number}")
        assert {row[name] for name in ("text", "text_key", "subject", "sketch")} == {None}
        assert row["label"] == "shipping"
    assert served_rows.of_request(engine, "r2")[0]["subject"]
    assert served_rows.forget(engine, ["write to ann@example.org"]) == 0


def test_no_file_holds_the_forgotten_words(engine, tmp_path):
    served.write(engine, [served.answer("a very secret sentence")], text="full")
    served_rows.forget(engine, ["A very secret sentence."])
    assert not [path for path in tmp_path.iterdir() if b"very secret sentence" in path.read_bytes()]


def test_an_answer_that_a_model_wrote_is_kept_and_forgotten_as_its_text_is(engine):
    written = {"label": "Dear Ann, we call +44 20 7946 0018", "writes": True}
    served.write(engine, [served.answer("a question", **written)])
    (row,) = served_rows.of_request(engine, "r0")
    assert row["label"] == "Dear Ann, we call <PHONE_1>"
    served_rows.forget(engine, ["A question"])
    assert served_rows.of_request(engine, "r0")[0]["label"] == ""
    served.write(engine, [served.answer("another", 1, **written)], text="hashed")
    assert served_rows.of_request(engine, "r1")[0]["label"] == ""
