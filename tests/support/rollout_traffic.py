"""A rollout in a database, and what was asked and answered while it ran."""

import re
from dataclasses import replace

from sqlalchemy import insert, update

from retune.serving import outcomes, rollouts
from retune.serving.feedback import FEEDBACK, REVIEWS
from retune.serving.request_log import ANSWERS
from tasks.promote import manual
from tests.support import promotion, served
from tests.support.git_repo import init_repository

BEGAN = 1_000_020.0
STEPS = ("shadow", 5, 50, 100)


def begin(engine, place=0, steps=STEPS, metric="error", model="classifier", hours=1):
    """A rollout whose steps so far began an hour after each other."""
    rollout = rollouts.begin(engine, model, ("3", "4"), steps, metric, "better on refunds", "Ann <ann@x.org>")
    for step in range(1, place + 1):
        rollout = rollouts.change(engine, rollout, "fine so far", place=step)
    times = tuple(BEGAN + 3600.0 * hours * step for step in range(place + 1))
    with engine.begin() as connection:
        connection.execute(update(rollouts.ROLLOUTS).values(times=str(list(times)), changed=times[-1]))
    return replace(rollout, times=times, changed=times[-1])


def answer(arm, number, time, error="", label="shipping", version=None, **changes):
    version = version or ("3" if arm == "champion" else "4")
    row = served.answer("hm", number, arm=arm, version=version, error=error, label="" if error else label, time=time)
    columns = [column.name for column in ANSWERS.c]
    values = {name: getattr(row, name) for name in columns if hasattr(row, name)} | {"length": 2}
    return {**values, "text": None, "model": "classifier", "reason": "sticky 50%", **changes}


def log(engine, rows):
    with engine.begin() as connection:
        connection.execute(insert(ANSWERS), list(rows))


def traffic(engine, start, minutes, candidate, champion, arm="challenger", first=0):
    """The same requests in every minute: (count, errors) of each arm."""
    rows, number = [], first
    for minute in range(minutes):
        for side, (count, errors) in ((arm, candidate), ("champion", champion)):
            for place in range(count):
                error = "failed" if place < errors else ""
                rows.append(answer(side, number, start + 60 * minute + place / count, error))
                number += 1
    log(engine, rows)
    return number


def correct(engine, number, time, label="returns"):
    with engine.begin() as connection:
        values = {"id": f"{number}", "request_id": f"r{number}", "position": 0, "person": "p", "time": time}
        connection.execute(insert(FEEDBACK), {**values, "label": label})


def review(engine, number, verdict, label=None, answer="shipping"):
    with engine.begin() as connection:
        connection.execute(
            insert(REVIEWS),
            {
                "request_id": f"r{number}",
                "position": 0,
                "model": "classifier",
                "sheet": "s",
                "drawn": BEGAN + 30,
                "asked": BEGAN,
                "chance": 0.1,
                "answer": answer,
                "text_sha256": "0" * 64,
                "verdict": verdict,
                "label": label,
                "ingested": False,
            },
        )


def champion_and_candidate(folder, register_tiny, title):
    """Version 1 is champion, version 2 has passed the gate; a model of its own in the registry of `folder`."""
    init_repository(folder)
    name = re.sub(r"\W+", "-", title)[-60:].strip("-")
    champion = register_tiny(name)
    manual.promote_manually(champion, "the first", promotion.check)
    return register_tiny(name, champion=str(champion))


def rate(engine, values, name="rating"):
    """values: of the requests r0, r1 ..."""
    outcomes.put(engine, [outcomes.Outcome(f"r{number}", name, value, BEGAN) for number, value in enumerate(values)])
