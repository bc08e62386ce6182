"""kill -9 at every named point and at random moments of a real road; then the same command again.

pytest tests/faults -m slow --moments 200 --seed 7
"""

import random
import signal
import time

import pytest

from retune.system.failpoints import POINTS, VARIABLE

pytestmark = [pytest.mark.long, pytest.mark.timeout(0)]

ELSEWHERE = ("checkpoint:", "retrain:", "workspace:", "approve:", "reject:")  # points that `retune run` does not pass
CHECKPOINTS = {
    "train.method": "lora",
    "train.lora.rank": 2,
    "train.epochs": 2,
    "train.checkpoint_seconds": 0.1,
}


def place_of(point):
    """The last place of the road from which a command still passes the point."""
    verb, _, where = point.partition(":")
    if verb in ("ingest", "rows"):
        return "empty"
    if point == "before:train" or verb == "train":
        return "split"
    if where in ("train", "evaluate"):
        return "split" if point == "after:train" else "trained"
    if point == "run:decided" or verb in ("record", "gate", "register", "admit", "history", "promote"):
        return "scored"
    return "ingested"


@pytest.mark.parametrize("point", [point for point in POINTS if not point.startswith(ELSEWHERE)])
def test_a_kill_at_a_point_loses_nothing(staged_run, point):
    place = place_of(point)
    staged_run.begin(place)
    killed = staged_run.go(staged_run.commands[place], **{VARIABLE: point})
    assert killed.returncode in (-signal.SIGKILL, 3), killed.stdout + killed.stderr  # 3: it was a stage that died
    assert staged_run.left_alive() == []
    again(staged_run, place)


def again(staged_run, place):
    """The same command once more, and all that must hold then."""
    if place != "empty":
        assert staged_run.champion() in ([1], [2]), "there is no champion while nobody is at work"
    done = staged_run.go(staged_run.commands[place])
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "Traceback" not in output
    if place == "empty":
        assert staged_run.raw()["data/raw"] == staged_run.bits["data/raw"], output
        assert staged_run.torn() == []
        return output
    assert staged_run.wrong() == [], output
    return output


def test_a_killed_run_says_afterwards_what_was_mended(staged_run):
    staged_run.begin("scored")
    staged_run.go(staged_run.commands["scored"], **{VARIABLE: "register:packed"})
    output = again(staged_run, "scored")
    assert "repaired: closed the MLflow run" in output
    assert "repaired: removed" in output and "scratch" in output


@pytest.mark.parametrize("point", ["checkpoint:unfinished", "checkpoint:whole"])
def test_a_kill_at_a_checkpoint_goes_on_to_the_same_bits(staged_run, point):
    staged_run.begin("split")
    settings = [f"{key}={value}" for key, value in CHECKPOINTS.items()]
    staged_run.clone.python("-c", f"from flows.project import params_editor; params_editor.write({settings!r})")
    whole = train(staged_run)
    for number in range(2):  # the first, and once more where there is one already
        killed = train(staged_run, **{VARIABLE: point})
        assert killed is None
        assert len(list(staged_run.folder.glob(".retune/checkpoints/*/choose/step-*"))) == number + (
            point.endswith("whole")
        )
        if point.endswith("unfinished"):
            break
    assert train(staged_run) == whole
    assert staged_run.torn() == []
    assert list(staged_run.folder.glob(".retune/checkpoints/*")) == []


def train(staged_run, **env):
    """The weights that the stage makes when it is forced to; None if it died."""
    staged_run.clone.env |= env
    try:
        done = staged_run.clone.dvc("repro", "--force", "--single-item", "train")
    finally:
        for name in env:
            del staged_run.clone.env[name]
    return None if done.returncode else staged_run.hashes()["models/candidate"]


PLACES = ["empty", "ingested", "ingested", "split", "trained", "scored", "scored", "scored"]
PLACES += ["delivered", "delivered", "delivered"]


def test_kills_at_random_moments_lose_nothing(staged_run, staged_retraining, request):
    """Each moment is of one place, so that what comes before it is not gone again."""
    seed = request.config.getoption("--seed")
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    chance, failed, repaired, hits = random.Random(seed), [], 0, 0
    began = time.monotonic()
    moments = request.config.getoption("--moments")
    for number in range(moments):
        place = chance.choice(PLACES)
        one = staged_retraining if place in staged_retraining.commands else staged_run
        moment = chance.uniform(0, one.lasts(place))
        one.begin(place)
        hits += one.kill_after(one.commands[place], moment)
        try:
            assert one.left_alive() == []
            repaired += "repaired:" in again(one, place)
        except AssertionError as error:
            failed.append(f"moment {number}, {moment:.2f} s after {place}: {error}")
            print(failed[-1], flush=True)
        print(f"{number + 1} of {moments}, seed {seed}: {place} at {moment:.2f} s", flush=True)
    print(f"{moments} moments in {time.monotonic() - began:.0f} s, seed {seed}: {hits} killed, {repaired} mended")
    assert not failed, f"seed {seed}:\n" + "\n".join(failed)
