"""Rows of the log of what is served."""

from retune.config.request_log import ServeLog
from retune.serving import database, request_log, served_rows  # noqa: F401 (the tables)
from retune.serving.request_log import LoggedAnswer, RequestLog
from tests.support.personal_data import PII


def answer(text="where is my parcel", number=0, **changes):
    values = {
        "request_id": f"r{number}",
        "position": 0,
        "time": 1000.0 + number,
        "model": "desk",
        "version": "1",
        "seal": "a" * 64,
        "arm": "champion",
        "reason": "the only arm",
        "subject": "",
        "text": text,
        "vector": None,
        "label": "shipping",
        "writes": False,
        "confidence": 0.9,
        "route": "auto",
        "latency_ms": 12.0,
        "error": "",
    }
    return LoggedAnswer(**values | changes)


def database_in(folder):
    return database.connect(f"sqlite:///{folder / 'serving.db'}")


def log_into(engine, text="redacted", days=100_000, queue=1000, pii=PII):
    return RequestLog(engine, ServeLog(text=text, days=days, queue=queue), pii)


def write(engine, rows, **settings):
    """The log that wrote these rows, closed."""
    log = log_into(engine, **settings)
    log.put(rows)
    log.close()
    return log
