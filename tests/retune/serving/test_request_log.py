import logging
import threading
import time

import numpy as np
import pytest
from sqlalchemy import text as sql
from sqlalchemy.exc import OperationalError

from retune.serving import request_log, served_rows, sketches
from tests.support import served


@pytest.fixture
def engine(tmp_path):
    return served.database_in(tmp_path)


def rows(engine, **names):
    return [dict(row) for row in engine.connect().execute(sql("SELECT * FROM answers ORDER BY id")).mappings()]


def test_each_text_is_a_row_with_its_version_and_what_came_of_it(engine):
    vector = np.linspace(-1, 1, 384, dtype=np.float32)
    log = served.write(
        engine, [served.answer("late again", 7, vector=vector, subject="customer 12"), served.answer("hm", 7)]
    )
    first, second = served_rows.of_request(engine, "r7")
    assert (log.written, log.dropped, log.waiting) == (2, 0, 0)
    assert (first["version"], first["seal"], first["label"], first["confidence"]) == ("1", "a" * 64, "shipping", 0.9)
    assert (first["text"], first["length"], first["latency_ms"]) == ("late again", 10, 12.0)
    assert (sketches.from_bytes([first["sketch"]]) == sketches.sketch([vector])).all()
    assert first["subject"] and "customer" not in first["subject"] and second["subject"] is None
    assert second["sketch"] is None


@pytest.mark.parametrize(
    ("mode", "text", "has_key"),
    [
        ("redacted", "write to <EMAIL_1>", True),
        ("hashed", None, True),
        ("full", "write to ann@example.org", True),
        ("none", None, False),
    ],
)
def test_of_a_text_is_kept_what_the_parameter_says(engine, mode, text, has_key):
    served.write(engine, [served.answer("write to ann@example.org")], text=mode)
    (row,) = rows(engine)
    assert (row["text"], row["text_key"] is not None, row["length"]) == (text, has_key, 24)


def test_a_text_whose_personal_data_drops_a_row_is_not_kept(engine):
    from dataclasses import replace

    served.write(engine, [served.answer("write to ann@example.org")], pii=replace(served.PII, email="drop"))
    assert rows(engine)[0]["text"] is None


def test_the_file_holds_no_word_that_was_redacted(engine, tmp_path):
    served.write(engine, [served.answer("write to ann.very.secret@example.org")])
    assert not [path for path in tmp_path.iterdir() if b"ann.very.secret" in path.read_bytes()]


def test_rows_that_find_the_queue_full_are_dropped_and_counted_and_nobody_waits(engine, monkeypatch, caplog):
    gate = threading.Event()
    monkeypatch.setattr(request_log.RequestLog, "_next_batch", lambda self: gate.wait(5) and [])
    log = served.log_into(engine, queue=3)
    start = time.monotonic()
    log.put([served.answer(number=number) for number in range(5)])
    log.put([served.answer(number=5)])
    assert time.monotonic() - start < 1
    assert (log.waiting, log.dropped) == (3, 3)
    assert "queue is full" in caplog.text
    monkeypatch.undo()
    gate.set()
    log.close()
    assert [row["request_id"] for row in rows(engine)] == ["r0", "r1", "r2"]


def test_rows_wait_for_a_database_that_comes_back_and_none_is_lost(engine, monkeypatch, caplog):
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(request_log, "PAUSE", 0.01)
    monkeypatch.setattr(request_log, "FLUSH", 0.05)
    attempts, insert = [], request_log.insert

    def away(table):
        attempts.append(table.name)
        if len(attempts) < 4:
            raise OperationalError("INSERT", {}, Exception("database or disk is full"))
        return insert(table)

    monkeypatch.setattr(request_log, "insert", away)
    monkeypatch.setattr(request_log, "secret_of", lambda _: b"secret")
    log = served.log_into(engine)
    log.put([served.answer()])
    for _ in range(100):
        if log.written:
            break
        time.sleep(0.02)
    log.close()
    assert (log.written, log.dropped, len(rows(engine))) == (1, 0, 1)
    assert "database or disk is full" in caplog.text and "logged again" in caplog.text


def test_what_a_database_that_stays_away_could_not_take_is_counted_at_the_end(tmp_path, caplog):
    engine = served.database_in(tmp_path)
    with engine.begin() as connection:
        connection.execute(sql("DROP TABLE answers"))
    log = served.write(engine, [served.answer(), served.answer(number=1)])
    assert (log.written, log.dropped) == (0, 2)
    assert "no such table" in caplog.text


def test_a_row_that_cannot_be_stored_costs_no_other(engine, caplog):
    odd = served.answer("odd", 1, position=None)
    monsters = served.answer("half a \ud83d pair and \x00", 2)
    log = served.write(engine, [served.answer(), odd, monsters, served.answer("x", 3, vector=np.full(8, np.nan))])
    assert [(row["request_id"], row["text"]) for row in rows(engine)] == [
        ("r0", "where is my parcel"),
        ("r2", "half a ? pair and "),
        ("r3", "x"),
    ]
    assert (log.written, log.dropped) == (3, 1)
    assert "position" in caplog.text


def test_rows_older_than_their_days_go_when_the_log_is_written(engine):
    served.write(engine, [served.answer(time=time.time() - age * 86400) for age in (40, 31, 29, 0)])
    served.write(engine, [], days=30)
    assert len(rows(engine)) == 2


def test_one_transaction_deletes_no_more_than_its_share(engine, monkeypatch):
    monkeypatch.setattr(request_log, "SWEPT", 2)
    served.write(engine, [served.answer(number=number) for number in range(5)])
    assert [request_log.delete_before(engine, 1004.0) for _ in range(3)] == [2, 2, 0]
    assert [row["request_id"] for row in rows(engine)] == ["r4"]


def test_all_processes_of_a_database_have_one_secret_and_another_database_another(engine, tmp_path):
    (tmp_path / "other").mkdir()
    assert request_log.secret_of(engine) == request_log.secret_of(engine)
    assert request_log.secret_of(engine) != request_log.secret_of(served.database_in(tmp_path / "other"))
