import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.data.pii.detection import find
from retune.data.pii.spans import Span, without_overlaps
from tests.support.personal_data import PII, values

NOBODY = ["I want my money back!", "Wo ist mein Paket?", "", "<EMAIL_1> wrote", "你好"]


@pytest.mark.parametrize("text", NOBODY)
def test_nothing_is_recognised_in_a_text_about_nobody(text):
    assert find(text, PII) == []


def test_of_values_that_overlap_the_most_specific_and_then_the_longest_counts():
    both = [Span("phone", 0, 20, ""), Span("card", 3, 19, ""), Span("card", 3, 10, ""), Span("ip", 20, 25, "")]
    assert without_overlaps(both) == [both[1], both[3]]


def test_names_are_recognised_only_by_the_model_that_is_given():
    text = "Ann wrote to ann@example.org"
    assert values(text) == [("email", "ann@example.org")]
    spans = find(text, PII, lambda _text: [(0, 3)])
    assert [(span.type, span.value) for span in spans] == [("name", "Ann"), ("email", "ann@example.org")]


@given(st.text(alphabet="ab1290@.:-/+() <>_x\n", max_size=60))
def test_spans_are_in_order_and_say_what_stands_there(text):
    spans = find(text, PII)
    assert all(text[span.start : span.end] == span.value != "" for span in spans)
    assert all(one.end <= other.start for one, other in itertools.pairwise(spans))


HOSTILE = [
    "1",
    "a1",
    "@",
    "a@",
    "1@x.",
    "1-",
    "1 ",
    "12 34 56 78, ",
    ":",
    "aB3/",
    "Ab 1 ",
    "born 1 ",
    "DE12 ",
    '"\\1',
    "1://a:",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_no_text_takes_more_than_time_in_proportion_to_its_length(piece):
    text = piece * (20_000 // len(piece))
    start = time.process_time()
    find(text, PII)
    assert time.process_time() - start < 2  # a pattern that backtracks takes minutes
