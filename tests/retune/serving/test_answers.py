from retune.serving import answers


def test_each_reason_for_no_answer_has_a_word_and_a_status_of_an_error():
    reasons = answers.Unanswered.__subclasses__()
    assert {reason.kind for reason in reasons} == {"overloaded", "deadline", "unavailable", "bad_answer"}
    assert all(500 <= reason.status < 600 for reason in reasons)
    assert answers.Overloaded("200 texts wait", retry_after=3).retry_after == 3
