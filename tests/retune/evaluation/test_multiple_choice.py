import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from retune.config import params
from retune.errors import Refused, WrongUse
from retune.evaluation import multiple_choice
from retune.evaluation.multiple_choice import Question
from tests.support.environment import ROOT

BOOLQ = Path(__file__).parents[4] / "shared" / "data" / "boolq" / "boolq.jsonl"
ANIMALS = [
    Question("A cat says", ("woof", "meow"), 1),
    Question("A dog says", ("woof", "a very long meow indeed"), 0),
]


def says(values):
    return lambda pairs: np.array([values[second.strip()] for _, second in pairs])


def write(path, *lines):
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")
    return path


def test_a_set_is_read_line_by_line(tmp_path):
    path = write(
        tmp_path / "set.jsonl",
        {"query": "Sky?", "choices": ["blue", "green"], "gold": 0, "more": 1},
        {"query": "Sea?", "choices": ["red", "blue"], "gold": 1, "between": "\nAnswer: "},
    )
    first, second = multiple_choice.read(path)
    assert first == Question("Sky?", ("blue", "green"), 0, " ")
    assert second.between == "\nAnswer: "


@pytest.mark.parametrize(
    "line",
    [
        {"query": "Sky?", "choices": ["blue"], "gold": 0},
        {"query": "Sky?", "choices": ["blue", ""], "gold": 0},
        {"query": "Sky?", "choices": ["blue", "red"], "gold": 2},
        {"query": "Sky?", "choices": ["blue", "red"], "gold": True},
        {"query": "Sky?", "choices": ["blue", "red"]},
        {"query": 3, "choices": ["blue", "red"], "gold": 0},
        {"query": "Sky?", "choices": ["blue", "red"], "gold": 0, "between": None},
        ["Sky?"],
    ],
)
def test_a_line_that_is_no_question_is_named(tmp_path, line):
    path = write(tmp_path / "set.jsonl", {"query": "Sea?", "choices": ["a", "b"], "gold": 0}, line)
    with pytest.raises(Refused, match="line 2"):
        multiple_choice.read(path)


def test_no_set_and_an_empty_one_are_told_apart(tmp_path):
    with pytest.raises(WrongUse, match="cannot be read"):
        multiple_choice.read(tmp_path / "gone.jsonl")
    with pytest.raises(Refused, match="no question"):
        multiple_choice.read(write(tmp_path / "empty.jsonl"))


def test_the_likeliest_choice_is_the_answer_and_length_may_be_taken_out():
    likelihood = says({"woof": -4.0, "meow": -3.0, "a very long meow indeed": -6.0})
    assert multiple_choice.answers(ANIMALS, likelihood, by_length=False).tolist() == [1, 0]
    assert multiple_choice.answers(ANIMALS, likelihood, by_length=True).tolist() == [1, 1]


def test_the_model_is_asked_once_for_query_and_choice_as_they_stand():
    queries = []

    def likelihood(pairs):
        queries.append(list(pairs))
        return np.zeros(len(pairs))

    multiple_choice.answers([Question("Sea?", ("red", "blue"), 1, "\nAnswer: ")], likelihood, by_length=False)
    assert queries == [[("Sea?", "\nAnswer: red"), ("Sea?", "\nAnswer: blue")]]


def test_a_likelihood_that_is_no_number_is_no_answer():
    with pytest.raises(Refused, match="no likelihood"):
        multiple_choice.answers(ANIMALS[:1], says({"woof": np.nan, "meow": -1.0}), by_length=False)


@pytest.mark.skipif(not BOOLQ.is_file(), reason="BoolQ is not on this machine")
def test_boolq_is_such_a_set():
    questions = multiple_choice.read(BOOLQ)
    assert len(questions) == 3270
    assert (
        multiple_choice.right(
            questions, multiple_choice.answers(questions, says({"yes": -1.0, "no": -2.0}), True)
        ).mean()
        > 0.6
    )


def test_the_sets_of_params_are_looked_at_and_refused_in_the_same_words(tmp_path):
    def named(path, task="instruct"):
        section = yaml.safe_load((ROOT / f"retune/config/defaults/{task}.yaml").read_text("utf-8"))
        section["evaluate"]["retention"] = [{"name": "boolq", "path": str(path), "by_length": False}]
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(section), "utf-8")
        return params.load(tmp_path / "params.yaml")

    good = write(tmp_path / "good.jsonl", {"query": "Sky?", "choices": ["blue", "green"], "gold": 0})
    torn = write(tmp_path / "torn.jsonl", {"query": "Sky?", "choices": ["blue", "green"], "gold": 2})
    for task in ("instruct", "prefer"):
        multiple_choice.check(named(good, task))
        with pytest.raises(Refused, match=r"torn\.jsonl, line 1: gold is 2"):
            multiple_choice.check(named(torn, task))
        with pytest.raises(WrongUse, match=r"The multiple-choice set .*gone\.jsonl cannot be read"):
            multiple_choice.check(named(tmp_path / "gone.jsonl", task))
    multiple_choice.check(params.load(ROOT / "params.yaml"))
