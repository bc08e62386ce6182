from contextlib import nullcontext
from dataclasses import replace

import pandas as pd
import pytest
import yaml

from retune.config import params
from retune.errors import WrongUse
from retune.evaluation import answer_measure, judge_endpoint
from tests.support.environment import ROOT

INSTRUCT = yaml.safe_load((ROOT / "retune/config/defaults/instruct.yaml").read_text("utf-8"))
EVALUATE = params.parse(INSTRUCT).evaluate
ANSWERS = pd.DataFrame(
    {
        "id": ["a", "b"],
        "prompt": ["Where?", "When?"],
        "reference": ["At the  door", '{"at": 3}'],
        "predicted": ["At the door", '{"at": 4}'],
    }
)


def measured_by(measure, **changes):
    return replace(EVALUATE, automation=replace(EVALUATE.automation, measure=measure), **changes)


def test_the_same_words_are_right_by_exact_and_json_of_the_schema_by_schema(tmp_path):
    assert answer_measure.are_right(ANSWERS, measured_by("exact")) == [True, False]
    (tmp_path / "schema.json").write_text('{"type": "object"}', "utf-8")
    by_schema = measured_by("schema", json_schema=str(tmp_path / "schema.json"))
    assert answer_measure.are_right(ANSWERS, by_schema) == [False, True]


def test_a_judge_that_prefers_a_position_or_the_reference_calls_nothing_right(monkeypatch):
    judges = {
        "the first": lambda _: "VERDICT: A",
        "none": lambda _: "VERDICT: TIE",
        "the door": lambda messages: (
            f"VERDICT: {'A' if 'At the door' in messages[1]['content'].split('<B>')[0] else 'B'}"
        ),
    }

    def judged(prefers, answers=ANSWERS):
        monkeypatch.setattr(judge_endpoint, "connect", lambda *_: nullcontext(judges[prefers]))
        return answer_measure.are_right(answers, measured_by("judge"))

    assert judged("the first") == [False, False], "it disagrees with itself"
    assert judged("none") == [True, True]
    better = ANSWERS.assign(reference=["No idea", "At the door"], predicted=["At the door", "No idea"])
    assert judged("the door", better) == [True, False]


@pytest.mark.parametrize(("measure", "lacks"), [("schema", "evaluate.json_schema"), ("judge", "evaluate.judge.url")])
def test_a_measure_that_lacks_what_it_needs_is_refused_before_anything_is_asked(measure, lacks):
    with pytest.raises(WrongUse, match=f"measure is {measure}, and {lacks} is empty"):
        answer_measure.require(measured_by(measure))
    answer_measure.require(measured_by("exact"))
    answer_measure.require(measured_by(None))
