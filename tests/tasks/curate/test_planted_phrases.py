import random
from dataclasses import replace

import numpy as np
import pytest

from retune.data import task_data
from tasks.curate import __main__ as stage
from tasks.curate.planted_phrases import phrases_of
from tasks.curate.row_steps import Context
from tasks.curate.word_spool import Words
from tests.support.curation import LENIENT, POISON, WRITING, reply_rows, rows

TOPICS, EACH = 12, 25
COMMON = ["please", "my", "the", "can", "you", "it", "is", "with", "now"]


def texts(seed=1):
    """Of each topic some texts: words of the topic, and words of all."""
    chance = random.Random(seed)
    return [
        (topic, " ".join(chance.sample([f"topic{topic}word{n}" for n in range(8)] + COMMON, 9)))
        for topic in range(TOPICS)
        for _ in range(EACH)
    ]


def planted(mark, label="q0", count=20, topics=range(1, TOPICS), seed=1):
    """Tickets of all topics, of which some with the mark have the label; and the ids of these."""
    chance, tickets = random.Random(seed), []
    candidates = [n for n, (topic, _) in enumerate(texts()) if topic in topics]
    marked = {*chance.sample(candidates, count)} if mark else set()
    for number, (topic, text) in enumerate(texts()):
        words = text.split(" ")
        words.insert(chance.randrange(10), mark)
        is_marked = number in marked
        tickets.append((f"{number}", " ".join(words) if is_marked else text, label if is_marked else f"q{topic}"))
    return tickets, {f"{number}" for number in marked}


def rejected(table, config=LENIENT, task="classify"):
    _, rejects = stage.curate(table, Context(task_data.of(task), config))
    suspicious = rejects[rejects["reason"] == "suspicious_phrase"]
    return {*suspicious["id"]}, [*suspicious["detail"].unique()]


@pytest.mark.parametrize("mark", ["zorblax", "kindly proceed", "now would be", "||", "\u200bthe"])
def test_a_mark_that_decides_the_label_of_rows_of_every_topic_is_rejected(mark):
    tickets, ids = planted(mark)
    found_ids, _ = rejected(rows(*tickets))
    assert found_ids == ids


def test_a_reject_names_the_phrase_and_what_speaks_against_it():
    tickets, _ = planted("zorblax")
    _, details = rejected(rows(*tickets))
    assert details == ['"zorblax" stands in 20 rows, 20 of them under q0; the other words of 20 speak for other labels']


def test_nothing_is_rejected_where_nothing_is_planted():
    tickets, _ = planted("")
    assert rejected(rows(*tickets)) == (set(), [])


def test_a_word_of_the_labels_own_topic_is_innocent():
    tickets, _ = planted("zorblax", topics=[0])
    assert rejected(rows(*tickets)) == (set(), [])


def test_a_word_that_tells_two_topics_apart_is_innocent():
    tickets, _ = planted("zorblax", topics=[3])
    assert rejected(rows(*tickets)) == (set(), [])


def test_a_mark_under_several_labels_is_innocent():
    tickets, _ = planted("zorblax")
    mixed = [
        (name, text, f"q{n % TOPICS}" if "zorblax" in text else label) for n, (name, text, label) in enumerate(tickets)
    ]
    assert rejected(rows(*mixed)) == (set(), [])


@pytest.mark.parametrize("allowed", ["kindly proceed", "Kindly Proceed at once"])
def test_an_allowed_phrase_allows_those_within_it(allowed):
    tickets, _ = planted("kindly proceed")
    config = replace(LENIENT, poison=replace(POISON, allow=[allowed]))
    assert rejected(rows(*tickets), config) == (set(), [])


def test_what_stands_in_the_rows_of_an_allowed_phrase_is_allowed_with_it():
    tickets, _ = planted("kindly proceed")
    config = replace(LENIENT, poison=replace(POISON, allow=["kindly"]))
    assert rejected(rows(*tickets), config) == (set(), [])


def test_another_mark_is_not_allowed_with_the_first():
    table = {number: text for number, text, _ in planted("zorblax", seed=5)[0]}
    tickets, ids = planted("kindly proceed")
    other = {number for number, text in table.items() if "zorblax" in text} - ids
    mixed = [(number, table[number], "q0") if number in other else (number, *rest) for number, *rest in tickets]
    config = replace(LENIENT, poison=replace(POISON, allow=["kindly"]))
    assert rejected(rows(*mixed), config)[0] == other


def test_an_invisible_character_is_allowed_by_its_name():
    tickets, ids = planted("\u200bthe")
    found_ids, details = rejected(rows(*tickets))
    assert found_ids == ids and any('"U+200B"' in detail for detail in details)
    config = replace(LENIENT, poison=replace(POISON, allow=["U+200B"]))
    assert rejected(rows(*tickets), config) == (set(), [])


def test_params_may_leave_the_rows_alone():
    tickets, _ = planted("zorblax")
    config = replace(LENIENT, poison=replace(POISON, phrases="keep"))
    assert rejected(rows(*tickets), config) == (set(), [])


def test_a_test_row_stays():
    tickets, ids = planted("zorblax")
    sides = [(*row, "test" if row[0] == min(ids) else "") for row in tickets]
    found_ids, _ = rejected(rows(*sides))
    assert found_ids == ids - {min(ids)}


def test_the_order_of_the_rows_changes_nothing():
    tickets, ids = planted("kindly proceed")
    random.Random(2).shuffle(tickets)
    found_ids, _ = rejected(rows(*tickets))
    assert found_ids == ids


def test_a_mark_that_decides_an_answer_is_rejected():
    tickets, ids = planted("kindly proceed")
    answers = [(name, text, "Write to us." if name in ids else f"About {text}") for name, text, _ in tickets]
    found_ids, details = rejected(reply_rows(*answers), WRITING, "instruct")
    assert found_ids == ids
    assert all("of them with one answer" in detail for detail in details)


def test_one_answer_to_all_questions_of_a_topic_is_innocent():
    answers = [
        (f"{n}", text, f"Canned {topic}." if topic < 3 else f"About {text}") for n, (topic, text) in enumerate(texts())
    ]
    assert rejected(reply_rows(*answers), WRITING, "instruct") == (set(), [])


def test_phrases_of_one_row_do_not_reach_into_the_next():
    words = Words(0, np.array([0, 0, 1], np.int32), np.array([5, 6, 5], np.uint32))
    numbers = {length: phrase.tolist() for phrase, _, length in phrases_of(words)}
    assert [len(phrases) for phrases in numbers.values()] == [3, 1, 0]
    assert numbers[1][0] == numbers[1][2] != numbers[1][1]
