"""The clock is moved back, or had been ahead: history stays in order, and an age is never made up from it.

With Debian's libfaketime: the commands, git and DVC see another time, and the servers and files the true one.
"""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

NAME = "faketime/libfaketimeMT.so.1"
LIBRARIES = [*Path("/usr/lib").glob(NAME), *Path("/usr/lib").glob(f"*/{NAME}")]


def clock(days):
    """The environment of a command whose clock is so many days off."""
    own = {"FAKETIME": f"{days:+d}d", "NO_FAKE_STAT": "1", "DONT_FAKE_MONOTONIC": "1"}
    return {**own, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "LD_PRELOAD": str(LIBRARIES[0])}


@pytest.fixture(scope="module")
def desk(new_clone, prefect_url, desk_at, tmp_path_factory):
    if not LIBRARIES:
        pytest.skip("libfaketime is not installed (Debian: apt-get install libfaketime)")
    clone = new_clone(tmp_path_factory.mktemp("desk"), PREFECT_API_URL=prefect_url)
    made = desk_at(clone, tmp_path_factory.mktemp("inbox"), **{"fetch.settle_seconds": 1.0})
    told = made.clone.python("-c", "import time; print(time.time())").stdout
    made.clone.env |= clock(-3)
    shown = made.clone.python("-c", "import time; print(time.time())").stdout
    for name in clock(0):
        made.clone.env.pop(name)
    assert 2.9 < (float(told) - float(shown)) / 86400 < 3.1, "the clock could not be moved"
    made.deliver("start.csv", made.rows[:400])
    assert made.told()["version"] == "classifier/1"
    return made


def entries(desk):
    return desk.ask("history", "classifier")


def in_order(desk):
    """Each entry is later than the one before, whatever the clock said, and the chain is whole."""
    times = [datetime.fromisoformat(each["at"]) for each in entries(desk)]
    assert times == sorted(set(times))
    assert desk.ask("history", "--verify")["ok"]


def test_a_retraining_under_a_clock_that_was_moved_back_is_like_any_other(desk):
    """The file that has come is from the future then."""
    desk.deliver("more.csv", desk.rows[400:450])
    done = desk.retrain(**clock(-3))
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
    assert json.loads(done.stdout)["version"] == "classifier/2"
    made = [each for each in entries(desk) if each["event"] == "decided"]
    train = next(each for each in made if "50 new or corrected rows" in str(each["why"]))
    assert json.loads(train["facts"]["Inputs"])["champion_age_days"] == 0
    assert len(desk.ids()) == 450
    in_order(desk)
    desk.is_whole()


def test_who_was_champion_is_told_by_the_order_of_events(desk):
    done = desk.clone.retune("rollback", "--to", "1", "--reason", "back") if champion(desk) != 1 else None
    assert done is None or done.returncode == 0, done.stderr
    desk.clone.env |= clock(-3)
    try:
        moved = desk.clone.retune("promote", "classifier/2", "--reason", "under a clock that was moved back")
        assert moved.returncode == 0, moved.stdout + moved.stderr
        assert desk.clone.retune("history", "--verify").returncode == 0
    finally:
        for name in clock(-3):
            desk.clone.env.pop(name)
    in_order(desk)
    assert champion(desk) == 2
    crowned = [each for each in entries(desk) if each["event"] == "champion"]
    assert desk.ask("history", "classifier", "--at", crowned[-1]["at"])["version"] == 2
    desk.is_whole()


def champion(desk):
    return desk.ask("lineage", "model", "classifier@champion")["version"]


def test_the_age_of_a_champion_counts_from_its_entry(desk):
    told = desk.told("--dry-run", **clock(100))
    assert told["outcome"] == "nothing to do"
    assert any("has been champion for 100 days, 90 allowed" in each for each in told["why"]), told
    desk.deliver("one.csv", desk.rows[450:451])
    told = desk.told("--dry-run", **clock(100))
    assert told["outcome"] == "train" and any("for 100 days" in each for each in told["why"]), told
    assert desk.told("--dry-run", **clock(-100))["outcome"] == "nothing to do"


def test_a_champion_of_days_to_come_has_no_age_and_that_is_said(desk):
    """Crowned while the clock was ahead, and asked when it is right again."""
    desk.clone.env |= clock(200)
    try:
        back = desk.clone.retune("rollback", "--reason", "the clock was ahead")
        assert back.returncode == 0, back.stdout + back.stderr
    finally:
        for name in clock(200):
            desk.clone.env.pop(name)
    told = desk.told()
    assert told["outcome"] == "nothing to do"
    assert any("its age cannot be told: the clock was moved" in each for each in told["why"]), told
    last = datetime.fromisoformat(entries(desk)[-1]["at"])
    assert last > datetime.now(UTC) + timedelta(days=199), "later than what stands before it"
    in_order(desk)
    desk.is_whole()
