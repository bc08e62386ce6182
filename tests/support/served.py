"""Rows of the log of what is served."""

import numpy as np

from retune.config.request_log import ServeLog
from retune.serving import database, request_log, served_rows  # noqa: F401 (the tables)
from retune.serving.request_log import LoggedAnswer, RequestLog
from tests.support.personal_data import PII

DAY, START = 86400.0, 1_000_000.0  # seconds


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


def day(number, texts=150, label=None, confidence=(9, 1), text="where is my parcel", **changes):
    """The rows of a day, the `number`-th after START: their confidence is of a beta distribution."""
    draw = np.random.default_rng(number)
    sure = draw.beta(*confidence, texts)
    return [
        answer(
            text if place % 3 else text + "!",
            request_id=f"r{number}-{place}",
            time=START + number * DAY + place * DAY / texts,
            label=label or "abc"[int(draw.integers(3))],
            confidence=float(sure[place]),
            latency_ms=float(place),
            vector=draw.standard_normal(16).astype(np.float32),
            **changes,
        )
        for place in range(texts)
    ]
