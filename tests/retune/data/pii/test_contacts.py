import pytest

from tests.support.personal_data import values


@pytest.mark.parametrize(
    "address",
    [
        "ann@example.org",
        "ann.o'neil+shop@mail.example.co.uk",
        "аnn@example.org",
        "ann＠example.org",
        "ann (at) example (dot) org",
        "用户@例子.广告",
    ],
)
def test_an_e_mail_address_is_recognised_whatever_its_letters(address):
    assert values(f"Write to <{address}>.") == [("email", address)]


def test_what_only_has_an_at_is_no_e_mail_address():
    for text in ("2 @ 5.00", "@ann on it", "ann@localhost", "git@example.org:ann/code", "look (at) me"):
        assert values(text) == []


@pytest.mark.parametrize(
    "number",
    ["+44 20 7946 0715", "+1-202-555-0187", "(202) 555-0127", "020 7946 0627", "+41 (0)44 668 18 00", "0049 30 123456"],
)
def test_a_phone_number_is_recognised_by_its_form(number):
    assert values(f"It is {number}.") == [("phone", number)]


@pytest.mark.parametrize(
    "text", ["Call me at 785 8949", "Telefon: 0301234567", "call (202) 555-0127 ext. 5", "04 12 34 56 office"]
)
def test_a_phone_number_is_recognised_by_a_word_near_it(text):
    assert [kind for kind, _ in values(text)] == ["phone"]


@pytest.mark.parametrize(
    "text",
    [
        "Order 2813882583 came",
        "call me about order 202-555-0127",
        "on 12.05.2024 14:30",
        "call on 2024-05-12 09:30",
        "invoice 2024-0012345",
        "it costs 1 234 567,00",
        "112-3456789-1234567",
        "ZIP 75534-030",
        "10.0.19041.1234",
        "1 2 3 4 5 6 7 8 9",
    ],
)
def test_other_numbers_are_no_phone_numbers(text):
    assert values(text) == []


def test_the_groups_of_a_phone_number_end_before_another_number():
    assert values("call 555-123-4567 2 times") == [("phone", "555-123-4567")]
