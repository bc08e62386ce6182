"""The clock is moved back, or had been ahead: history stays in order, and an age is never made up from it.

Commands, git and DVC see another time, by a few lines of C before the system's own; the servers and files see the true
one. Debian's libfaketime cannot do it: with the time of day it moves, or breaks, the clock that `time.sleep` goes by.
"""

import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static time_t off(void) { const char *offset = getenv("CLOCK_OFF_BY"); return offset ? atol(offset) : 0; }
int clock_gettime(clockid_t which, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(which, at);
    if (!code && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) at->tv_sec += off();
    return code;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
"""


@pytest.fixture(scope="module")
def clock(tmp_path_factory):
    """The environment of a command whose clock is so many days off."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        pytest.skip("no C compiler is installed, and without one no clock is moved (Debian: apt-get install gcc)")
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(SHIM, "ascii")
    words = [compiler, "-shared", "-fPIC", "-o", folder / "clock.so", folder / "clock.c", "-ldl"]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no clock can be moved here: {done.stderr.strip()}")
    return lambda days: {"CLOCK_OFF_BY": str(days * 86400), "LD_PRELOAD": str(folder / "clock.so")}


@pytest.fixture(scope="module")
def retraining_clone(new_clone, prefect_url, make_retraining_clone, tmp_path_factory):
    clone = new_clone(tmp_path_factory.mktemp("desk"), PREFECT_API_URL=prefect_url)
    retraining_clone = make_retraining_clone(clone, tmp_path_factory.mktemp("inbox"), **{"fetch.settle_seconds": 1.0})
    retraining_clone.deliver("start.csv", retraining_clone.rows[:400])
    assert retraining_clone.retrain_report()["version"] == "classifier/1"
    return retraining_clone


def at(retraining_clone, env, *words):
    """A command under another clock."""
    moved = type(retraining_clone.clone)(retraining_clone.clone.folder, {**retraining_clone.clone.env, **env})
    done = moved.retune(*words)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_clock_is_moved(retraining_clone, clock):
    times = [
        float(retraining_clone.clone.python("-c", "import time; print(time.time())").stdout),
        float(
            type(retraining_clone.clone)(retraining_clone.clone.folder, clock(-3))
            .python("-c", "import time; print(time.time())")
            .stdout
        ),
    ]
    assert 2.9 < (times[0] - times[1]) / 86400 < 3.1


def entries(retraining_clone):
    return retraining_clone.query("history", "classifier")


def in_order(retraining_clone):
    """Each entry is later than the one before, whatever the clock said, and the chain is whole."""
    times = [datetime.fromisoformat(each["at"]) for each in entries(retraining_clone)]
    assert times == sorted(set(times))
    assert retraining_clone.query("history", "--verify")["ok"]


def test_a_retraining_under_a_clock_that_was_moved_back_is_like_any_other(retraining_clone, clock):
    """The file that has come is from the future then."""
    retraining_clone.deliver("more.csv", retraining_clone.rows[400:450])
    done = retraining_clone.retrain(**clock(-3))
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
    assert json.loads(done.stdout)["version"] == "classifier/2"
    decisions = [each for each in entries(retraining_clone) if each["event"] == "decided"]
    train = next(each for each in decisions if "50 new or corrected rows" in str(each["why"]))
    assert json.loads(train["facts"]["Inputs"])["champion_age_days"] is None, "its champion is of the future"
    assert len(retraining_clone.row_ids()) == 450
    in_order(retraining_clone)
    retraining_clone.assert_consistent()


def test_who_was_champion_is_told_by_the_order_of_events(retraining_clone, clock):
    if champion(retraining_clone) == 2:
        at(retraining_clone, {}, "rollback", "--to", "1", "--reason", "back")
    at(retraining_clone, clock(-3), "promote", "classifier/2", "--reason", "under a clock that was moved back")
    at(retraining_clone, clock(-3), "history", "--verify")
    in_order(retraining_clone)
    assert champion(retraining_clone) == 2
    crowned = [each for each in entries(retraining_clone) if each["event"] == "champion"]
    assert retraining_clone.query("history", "classifier", "--at", crowned[-1]["at"])["champion"] == "classifier/2"
    retraining_clone.assert_consistent()


def champion(retraining_clone):
    return retraining_clone.query("lineage", "model", "classifier@champion")["version"]


def test_the_age_of_a_champion_counts_from_its_entry(retraining_clone, clock):
    report = retraining_clone.retrain_report("--dry-run", **clock(100))
    assert report["outcome"] == "nothing to do"
    assert any("has been champion for 100 days, 90 allowed" in each for each in report["why"]), report
    retraining_clone.deliver("one.csv", retraining_clone.rows[450:451])
    report = retraining_clone.retrain_report("--dry-run", **clock(100))
    assert report["outcome"] == "train" and any("for 100 days" in each for each in report["why"]), report
    assert retraining_clone.retrain_report("--dry-run", **clock(-100))["outcome"] == "nothing to do"


def test_a_champion_of_days_to_come_has_no_age_and_that_is_said(retraining_clone, clock):
    """Crowned while the clock was ahead, and asked when it is right again."""
    at(retraining_clone, clock(200), "rollback", "--reason", "the clock was ahead")
    report = retraining_clone.retrain_report()
    assert report["outcome"] == "nothing to do"
    assert any("so its age is unknown" in each for each in report["why"]), report
    last = datetime.fromisoformat(entries(retraining_clone)[-1]["at"])
    assert last > datetime.now(UTC) + timedelta(days=199), "later than what stands before it"
    in_order(retraining_clone)
    retraining_clone.assert_consistent()
