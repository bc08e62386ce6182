"""Whether to train again, from plain values; and what a state is, from a real repository."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.config.common import Trigger
from tasks import trigger
from tasks.trigger import RetrainDecision, TrainingInputs, VersionInputs
from tests.support.environment import ROOT

NOW = datetime(2026, 11, 25, tzinfo=UTC)
SECTION = Trigger(
    new_rows=200,
    on_change=True,
    max_age_days=90,
    on_forgotten=True,
    on_quality_loss=True,
    incremental=False,
    keep_failed_days=14.0,
)
THEN = TrainingInputs(
    "aa.dir", "bb", {"train.epochs": 3, "train.seed": 17}, {"tasks/split.py": "cc", "command of split": "x"}
)
NEWEST = VersionInputs("classifier/4", NOW - timedelta(days=7), THEN, "d" * 40)
CHAMPION = VersionInputs("classifier/3", NOW - timedelta(days=30), THEN, "e" * 40)


def verdict(
    now=THEN, newest=NEWEST, champion=CHAMPION, rows=0, forgotten=0, because=None, section=SECTION
) -> RetrainDecision:
    changes = trigger.RowChanges(rows, forgotten)
    return trigger.should_retrain(now, newest, champion, changes, because, section, NOW)


def test_without_a_version_there_is_always_reason_to_train():
    reasons = verdict(newest=None, champion=None)
    assert reasons.train and reasons.why == ("there is no version yet",)


def test_where_nothing_differs_nobody_trains_however_old_the_champion_and_whoever_asks():
    old = replace(CHAMPION, at=NOW - timedelta(days=1000))
    reasons = verdict(champion=old, because="the board wants a new one", forgotten=3)
    assert not reasons.train
    assert reasons.why == (
        "asked for: the board wants a new one",
        "classifier/3 has been champion for 1000 days, 90 allowed",
        "classifier/3 learned from 3 rows that are suppressed now, classifier/4 from none of them: "
        "`retune promote classifier/4 --reason TEXT`",
        "nothing differs from what classifier/4 was made from: the same bits would come out",
    )


MORE = replace(THEN, raw="ff.dir")


@pytest.mark.parametrize(("rows", "train"), [(199, False), (200, True)])
def test_enough_new_rows_are_a_reason(rows, train):
    reasons = verdict(MORE, rows=rows)
    assert reasons.train is train
    assert reasons.why == (f"{rows} new or corrected rows since classifier/4, 200 asked",)


def test_a_changed_parameter_or_file_is_a_reason_and_is_named():
    now = replace(THEN, params={"train.epochs": 5, "train.seed": 17, "train.new": True}, code={"tasks/split.py": "cd"})
    assert verdict(now).why == (
        "train.epochs: 3 → 5",
        "train.new: not set → True",
        "command of split changed",
        "tasks/split.py changed",
    )
    quiet = verdict(now, section=replace(SECTION, on_change=False))
    assert not quiet.train and "4 changes of parameters or code do not count" in quiet.why[1]


def test_where_an_incremental_training_starts_is_no_reason_for_the_next():
    """It started from the champion of that time; the checkout says the base."""
    newest = replace(NEWEST, state=replace(THEN, code={**THEN.code, "models/start.json": "from classifier/3"}))
    now = replace(THEN, code={**THEN.code, "models/start.json": "from the base"})
    assert verdict(now, newest=newest).why == ("models/start.json changed",)
    reasons_now = verdict(now, newest=newest, section=replace(SECTION, incremental=True))
    assert not reasons_now.train and "nothing differs" in reasons_now.why[0] and not reasons_now.inputs["changes"]


def test_many_changes_are_counted_not_listed():
    now = replace(THEN, code={f"tasks/{number}.py": "x" for number in range(50)})
    assert verdict(now).why[-1] == "44 more changes"


def test_an_old_champion_is_a_reason_if_something_would_come_of_it():
    old = replace(CHAMPION, at=NOW - timedelta(days=90))
    assert verdict(MORE, champion=old, rows=1).why == ("classifier/3 has been champion for 90 days, 90 allowed",)
    assert not verdict(MORE, champion=old, rows=1, section=replace(SECTION, max_age_days=0)).train
    assert not verdict(MORE, champion=replace(old, at=NOW - timedelta(days=89)), rows=1).train


def test_a_clock_that_was_moved_makes_no_age():
    """An entry of the history is later than the one before, if need be by the second: so much may it be ahead."""
    assert verdict(MORE, champion=replace(CHAMPION, at=NOW + timedelta(seconds=9))).inputs["champion_age_days"] == 0
    ahead = verdict(MORE, champion=replace(CHAMPION, at=NOW + timedelta(days=400)), rows=1)
    assert not ahead.train and ahead.inputs["champion_age_days"] is None
    reasons = "classifier/3 became champion in the future, by this clock, so its age is unknown"
    assert ahead.why == (reasons, "1 new or corrected rows since classifier/4, 200 asked")
    assert verdict(champion=replace(CHAMPION, at=NOW + timedelta(days=400))).why[0] == reasons
    never = replace(SECTION, max_age_days=0)
    assert reasons not in verdict(MORE, champion=replace(CHAMPION, at=NOW + timedelta(days=400)), section=never).why


def test_a_forgotten_row_that_the_champion_learned_from_is_a_reason():
    now = replace(THEN, suppressed="b2")
    assert verdict(now, forgotten=2).why == ("classifier/3 learned from 2 rows that are suppressed now",)
    assert not verdict(now, forgotten=2, section=replace(SECTION, on_forgotten=False)).train
    assert not verdict(now, forgotten=0).train


def test_a_request_is_a_reason_if_something_would_come_of_it():
    assert verdict(MORE, because="a new product line").why[0] == "asked for: a new product line"


def test_inputs_and_thresholds_stand_beside_the_verdict():
    reasons = verdict(MORE, rows=5, because="x")
    assert reasons.inputs["new_rows"] == 5 and reasons.inputs["champion_age_days"] == 30
    assert reasons.thresholds["new_rows"] == 200


@given(st.integers(0, 1000), st.integers(0, 5), st.integers(0, 400), st.none() | st.text(max_size=5))
def test_the_same_inputs_are_never_trained_on_twice(rows, forgotten, days, because):
    old = replace(CHAMPION, at=NOW - timedelta(days=days))
    assert not verdict(THEN, champion=old, rows=rows, forgotten=forgotten, because=because).train


def test_two_states_have_one_digest_only_if_they_are_equal():
    assert trigger.digest(THEN) == trigger.digest(replace(THEN))
    assert len({trigger.digest(each) for each in (THEN, MORE, replace(THEN, params={}), replace(THEN, code={}))}) == 4


def test_the_state_of_this_repository_names_every_file_that_a_stage_reads(monkeypatch):
    monkeypatch.chdir(ROOT)
    inputs = trigger.current_inputs("aa.dir")
    assert {"tasks/curate/__main__.py", "retune/errors.py", "command of train"} <= set(inputs.code)
    assert inputs.params["train.epochs"] and not [
        key for key in inputs.params if key.startswith(("trigger.", "promote."))
    ]
