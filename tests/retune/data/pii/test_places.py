import pytest

from tests.support.personal_data import values


@pytest.mark.parametrize(
    "address",
    [
        "221B Baker Street, London NW1 6XE",
        "1600 Pennsylvania Ave, Washington, DC 20500",
        "14 Elm Road, Apt 5B",
        "Hauptstraße 12, 10115 Berlin",
        "Calle de Alcalá 45, 28014 Madrid",
        "Rua do Arenque 1634",
        "12 rue de la Paix, 75002 Paris",
        "Kerkstraat 12, 1017 GA Amsterdam",
        "PO Box 1234",
        "PSC 7004, Box 8380\nAPO AP 11949",
    ],
)
def test_a_structured_address_is_recognised(address):
    assert values(f"Send it to {address}.") == [("address", address)]


def test_a_number_before_other_words_is_no_address():
    for text in ("I bought 2 premium tickets", "in 2019 the road was closed", "5 items for Baker Street", "Weg 5 mal"):
        assert values(text) == []


@pytest.mark.parametrize(
    "date", ["1990-05-12", "12.05.1990", "5/12/90", "12 May 1990", "May 12th, 1990", "12. Mai 1990"]
)
def test_a_date_is_one_of_birth_only_where_a_word_says_so(date):
    assert values(f"I was born on {date}") == [("date_of_birth", date)]
    assert values(f"geboren am {date}") == [("date_of_birth", date)]
    assert values(f"It came on {date}") == []


def test_no_date_is_none_of_birth_either():
    assert values("born on 45.13.1990") == []
