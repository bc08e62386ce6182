from retune.serving import answers


def test_each_reason_for_no_answer_has_a_word_and_a_status_of_an_error():
    reasons = answers.Unanswered.__subclasses__()
    assert {reason.kind for reason in reasons} == {"overloaded", "deadline", "unavailable", "bad_answer", "unfit"}
    assert [reason.kind for reason in reasons if not 500 <= reason.status < 600] == ["unfit"], "the client's fault"
    assert answers.Overloaded("200 texts wait", retry_after=3).retry_after == 3
