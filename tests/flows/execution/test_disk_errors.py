import errno
import logging

import pytest

from flows import pipeline
from flows.execution import disk_errors

SAID = [
    str(OSError(errno.ENOSPC, "No space left on device")),
    "MlflowException: (sqlite3.OperationalError) database or disk is full",
    "ERROR: unexpected error - [Errno 28] No space left on device",
]


@pytest.mark.parametrize("message", SAID)
def test_a_full_disk_is_known_by_whatever_name_and_told_what_to_do(message):
    assert disk_errors.advised(message).startswith(message) and "make room" in disk_errors.advised(message)


def test_what_is_no_full_disk_stays_as_it_is():
    assert disk_errors.advised("the disk of the record") == "the disk of the record"


@pytest.mark.parametrize(("error", "with_traceback"), [(OSError(errno.ENOSPC, SAID[1]), False), (KeyError("x"), True)])
def test_a_full_disk_is_logged_without_a_traceback(error, with_traceback):
    record = logging.LogRecord("prefect.flow_runs", logging.ERROR, "", 1, "failed", (), (type(error), error, None))
    assert pipeline.PlainErrors().filter(record)
    assert bool(record.exc_info) is with_traceback


def test_of_a_long_message_the_line_that_matters_is_told():
    output = "(raised as a result of autoflush)\n(sqlite3.OperationalError) database or disk is full\n[SQL: INSERT]"
    assert disk_errors.first_line(output) == "(sqlite3.OperationalError) database or disk is full"
    assert disk_errors.first_line("one\ntwo") == "one" and disk_errors.first_line("") == ""


def test_of_a_hundred_lines_the_first_and_the_last_are_told():
    files = [f"error: unable to write file {number}" for number in range(100)]
    output = "\n".join([*files, "fatal: Could not reset index file"])
    assert disk_errors.in_short(output) == f"{files[0]} … 99 more lines … fatal: Could not reset index file"
    assert disk_errors.in_short(" one\ntwo\n") == "one\ntwo"


def test_a_server_that_only_says_that_it_broke_is_seen_through(monkeypatch):
    message = "Server error '500 Internal Server Error'"
    assert disk_errors.advised(message) == message
    monkeypatch.setattr(disk_errors, "LEAST", 10**18)
    assert "make room" in disk_errors.advised(message)
