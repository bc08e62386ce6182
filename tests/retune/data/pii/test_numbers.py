import pytest

from tests.support.personal_data import values


@pytest.mark.parametrize(
    "card",
    [
        "4111111111111111",
        "4012-8888-8888-1881",
        "6011 1111 1111 1117",
        "3782 822463 10005",
        "30569309025904",
        "4111.1111.1111.1111",
        "4111\u20131111\u20131111\u20131111",
    ],
)
def test_a_card_number_is_recognised_by_its_checksum(card):
    assert values(f"It is {card}, twice.") == [("card", card)]
    assert values(f"Order 12 {card} 3 items") == [("card", card)]
    wrong = card[:-1] + str((int(card[-1]) + 1) % 10)
    assert "card" not in dict(values(f"It is {wrong}, twice."))


def test_a_number_as_short_as_a_bar_code_is_a_card_only_by_a_word():
    assert values("item 5018000000009") == []
    assert values("my card is 630427373398") == [("card", "630427373398")]


def test_a_card_number_in_other_digits_is_one_too():
    fullwidth = "4111111111111111".translate({48 + digit: 0xFF10 + digit for digit in range(10)})
    assert values(f"card {fullwidth}") == [("card", fullwidth)]


@pytest.mark.parametrize(
    "iban",
    ["DE89 3704 0044 0532 0130 00", "NL91ABNA0417164300", "gb29nwbk60161331926819", "De89.3704.0044.0532.0130.00"],
)
def test_an_iban_is_recognised_by_its_checksum_and_ends_where_its_country_says(iban):
    assert values(f"Pay to {iban} please") == [("iban", iban)]
    wrong = iban[:-1] + str((int(iban[-1]) + 1) % 10)
    assert "iban" not in dict(values(f"Pay to {wrong} please"))


NATIONAL_IDS = {  # a valid one in a sentence, and one whose checksum, letters or groups are wrong
    "US": ("It is 123-45-6789.", "It is 000-45-6789."),
    "US by a word": ("My SSN: 123456789", "My SSN: 000456789"),
    "UK health": ("NHS number 943 476 5919", "NHS number 943 476 5910"),
    "UK insurance": ("It is AB 12 34 56 C.", "It is BG 12 34 56 C."),
    "DE": ("Steuer-ID 36 574 261 809", "Steuer-ID 36 574 261 808"),
    "FR": ("C'est 2 94 03 75 120 005 91", "C'est 2 94 03 75 120 005 92"),
    "ES": ("Es 54362315K", "Es 54362315L"),
    "ES of a foreigner": ("Es X-2482300-W", "Es X-2482300-A"),
    "IT": ("È RCCMNL83S18D969H", "È RCCMNL83S18D969I"),
    "NL": ("BSN 111222333", "BSN 111222334"),
    "PL": ("PESEL 44051401359", "PESEL 44051401358"),
    "BR": ("É 111.444.777-35", "É 111.444.777-36"),
    "IN": ("It is 2341 2341 2346.", "It is 2341 2341 2347."),
    "IN of the taxes": ("PAN ABCPE1234F", "PAN ABCXE1234F"),
}


@pytest.mark.parametrize("country", NATIONAL_IDS)
def test_a_national_id_is_recognised_by_its_checksum(country):
    valid, invalid = NATIONAL_IDS[country]
    assert [kind for kind, _ in values(valid)] == ["national_id"]
    assert "national_id" not in dict(values(invalid))


def test_digits_alone_are_no_national_id_unless_a_word_says_so():
    for digits in ("111222333", "44051401359", "9434765919", "36574261809"):
        assert values(f"Order {digits} did not come") == []
