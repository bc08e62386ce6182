"""How many answers are there, and how many of them a model learns."""

import pytest

from retune.data import answer_counts, messages
from retune.data.answer_counts import AnswerCounts

USER, ASSISTANT = ({"role": role, "content": "a"} for role in ("user", "assistant"))
CHAT = messages.dump([USER, ASSISTANT, USER, {**ASSISTANT, "weight": 0}, USER])


def test_the_answers_of_stored_rows_are_counted():
    assert answer_counts.of_rows([CHAT, messages.dump([USER])]) == AnswerCounts(2, 3, 1, 1)


@pytest.mark.parametrize(
    ("counts", "turns", "lines"),
    [
        (AnswerCounts(5, 5, 0, 0), "last", []),
        (
            AnswerCounts(1, 3, 2, 0),
            "all",
            ["3 answers in 1 conversation; each is learned, the 2 earlier answers too (train.turns: all)"],
        ),
        (AnswerCounts(1, 3, 2, 0), "last", ["3 answers in 1 conversation; 2 are context only under train.turns: last"]),
        (AnswerCounts(2, 3, 1, 0), "last", ["3 answers in 2 conversations; 1 is context only under train.turns: last"]),
        (AnswerCounts(2, 2, 0, 1), "all", ["1 answer has weight 0: context only, never learned"]),
    ],
)
def test_what_becomes_of_them_depends_on_turns(counts, turns, lines):
    assert answer_counts.sentences(counts, turns) == lines
