import numpy as np
import pytest

from retune.evaluation import verbatim
from retune.evaluation.automation import exact_interval
from retune.evaluation.verbatim import Answers

LONG = 6
YES, HALF, NO = [True] * LONG, [False] * 3 + [True] * 3, [True] * 5 + [False]


def answers(**hits):
    return Answers([f"id {text}" for text in hits], list(hits), [np.array(each) for each in hits.values()])


def test_an_answer_given_back_from_the_prompt_is_given_back_from_its_half_too():
    measures = verbatim.measures(answers(one=YES, two=HALF, three=NO, four=NO), answers(five=NO), LONG, 0.95)
    assert (measures["verbatim_share"].value, measures["verbatim_share_from_half"].value) == (0.25, 0.5)
    spread = exact_interval(1, 4, 0.975)
    assert (measures["verbatim_share"].low, measures["verbatim_share"].high) == (spread.low, spread.high)
    assert measures["verbatim_share"].n == 4
    assert measures["verbatim_share_held_out"].value == 0


def test_short_answers_and_those_of_rows_never_seen_count_for_nothing_and_each_counts_once():
    learned = answers(common=YES, Form=YES, mine=YES)
    learned = Answers(
        [*learned.ids, "r9", "r8"], [*learned.texts, "mine", "ok"], [*learned.hits, np.array(YES), np.ones(2)]
    )
    places = learned.counted(answers(form=YES, common=NO), LONG)
    assert [learned.ids[place] for place in places] == ["id mine"]


@pytest.mark.parametrize("side", [answers(), answers(ok=[True])])
def test_where_no_answer_counts_nothing_is_measured(side):
    assert verbatim.measures(side, answers(ok=[True]), LONG, 0.95) == {}
