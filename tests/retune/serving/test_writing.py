import pytest

from retune.models.routing import AUTO, HUMAN, Routing
from retune.serving import writing


def test_a_text_without_a_confidence_goes_to_a_person_whatever_the_threshold():
    everything = Routing(0.0, {}, "all of them may go out")
    assert writing.route(everything, "Yes.", 0.1) == AUTO
    assert writing.route(everything, "Yes.", None) == HUMAN


def test_a_prompt_is_a_text_that_says_more_and_a_text_one_that_says_nothing():
    prompt = writing.Prompt("hello", max_tokens=3, stop=("END",))
    assert prompt == "hello" and writing.prompt_of(prompt) is prompt
    plain = writing.prompt_of("hello")
    assert (plain, plain.max_tokens, plain.stop, plain.on_piece) == ("hello", None, (), None)


def test_a_text_ends_before_the_first_word_that_stops_it():
    assert writing.before_stop("one END two STOP", ("STOP", "END")) == ("one ", True)
    assert writing.before_stop("one two", ("STOP",)) == ("one two", False)


@pytest.mark.parametrize(
    ("text", "stop", "visible"),
    [
        ("plain", (), "plain"),
        ("half a letter: \N{REPLACEMENT CHARACTER}", (), "half a letter: "),
        ("it may EN", ("END",), "it may "),
        ("it may ENT", ("END",), "it may ENT"),
        ("aa", ("aab",), ""),
        ("ab X", ("YZ", " XY"), "ab"),
    ],
)
def test_what_may_still_become_a_word_that_stops_it_does_not_go_out(text, stop, visible):
    assert text[: writing.safe_length(text, stop)] == visible
