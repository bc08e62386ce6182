"""The shipped sample is what `generate.py` writes, and its answer key tells the truth about it."""

import csv
import json
import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from tests.samples import bodies, generate

SAMPLES = Path(__file__).parent / "samples"
COPIES = ("exact_copies", "copies_after_cleaning", "near_copies", "two_labels")
COUNTS = {
    "exact_copies": 30,
    "copies_after_cleaning": 18,
    "near_copies": 25,
    "two_labels": 8,
    "personal_data": 57,
    "empty": 6,
    "too_short": 3,
    "too_long": 2,
    "junk_label": 5,
    "missing_label": 2,
    "ambiguous": 100,
}


@pytest.fixture(scope="module")
def rows():
    with (SAMPLES / "tickets.csv").open(encoding="utf-8", newline="") as file:
        return {row["ticket_id"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def key():
    return json.loads((SAMPLES / "answer_key.json").read_text(encoding="utf-8"))


def ids(entries):
    """Every ticket id of a fault's entries, whatever their form."""
    for entry in entries:
        if isinstance(entry, list):
            yield from entry
        else:
            yield entry["id"] if isinstance(entry, dict) else entry


def cleaned(body):
    visible = "".join(c for c in body if c.isspace() or unicodedata.category(c) not in {"Cc", "Cf"})
    return " ".join(unicodedata.normalize("NFC", visible).split())


def passes_luhn(number):
    digits = [int(char) for char in reversed(number) if char.isdigit()]
    return sum(d if at % 2 == 0 else sum(divmod(2 * d, 10)) for at, d in enumerate(digits)) % 10 == 0


def passes_mod_97(iban):
    compact = iban.replace(" ", "")
    return int("".join(str(int(char, 36)) for char in compact[4:] + compact[:4])) % 97 == 1


REAL = {
    "email": re.compile(r"[a-z]+\.[a-z]+@example\.(com|org|net)").fullmatch,
    "phone": re.compile(r"(\+1-202-|\(202\) )555-01\d\d|(\+44 |0)20 7946 0\d{3}").fullmatch,
    "iban": passes_mod_97,
    "card": passes_luhn,
    "name": re.compile(r"[A-Z][a-z]+ [A-Z][a-z]+").fullmatch,
}


def test_the_generator_writes_the_shipped_files_again_byte_for_byte(tmp_path):
    generate.main(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answer_key.json", "tickets.csv"]
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (SAMPLES / path.name).read_bytes(), path.name


def test_the_sample_stays_small_enough_to_ship():
    assert (SAMPLES / "tickets.csv").stat().st_size < 1_000_000


def test_there_are_2500_tickets_with_ids_in_order_of_their_day(rows):
    assert list(rows) == [f"T-{number:05}" for number in range(1, 2501)]
    days = [row["created"] for row in rows.values()]
    assert days == sorted(days)


def test_a_customer_writes_one_to_eight_times(rows):
    tickets = Counter(row["customer_id"] for row in rows.values())
    assert max(tickets.values()) <= 8
    assert sum(many > 1 for many in tickets.values()) > 400


def test_twelve_queues_of_unequal_size_hold_all_but_the_faulty_labels(rows, key):
    faulty = {*key["junk_label"], *key["missing_label"]}
    sizes = Counter(row["queue"] for row in rows.values() if row["ticket_id"] not in faulty)
    assert set(sizes) == set(bodies.SIZES)
    assert len(sizes) == 12
    assert 50 <= min(sizes.values()) < 100 < 400 < max(sizes.values()) <= 500


def test_each_fault_is_planted_as_often_as_the_readme_says(key):
    assert {fault: len(entries) for fault, entries in key.items()} == COUNTS
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"\| `(\w+)` \| (\d+) \|", readme)) == {k: str(v) for k, v in COUNTS.items()}


def test_no_ticket_has_two_kinds_of_fault(rows, key):
    hit = Counter(ticket for entries in key.values() for ticket in set(ids(entries)))
    assert hit.keys() <= rows.keys()
    assert set(hit.values()) == {1}


def test_exact_copies_are_equal_and_come_later(rows, key):
    for original, copy in key["exact_copies"]:
        assert original < copy
        assert rows[original]["body"] == rows[copy]["body"]
        assert rows[original]["queue"] == rows[copy]["queue"]


def test_disguised_copies_are_equal_only_after_cleaning(rows, key):
    for original, copy in key["copies_after_cleaning"]:
        assert rows[original]["body"] != rows[copy]["body"]
        assert cleaned(rows[original]["body"]) == cleaned(rows[copy]["body"])
        assert rows[original]["queue"] == rows[copy]["queue"]


def test_near_copies_differ_in_a_word_or_two_even_after_cleaning(rows, key):
    for original, copy in key["near_copies"]:
        before, after = (Counter(rows[ticket]["body"].split()) for ticket in (original, copy))
        assert 1 <= ((before - after) + (after - before)).total() <= 2
        assert rows[original]["queue"] == rows[copy]["queue"]


def test_one_text_stands_under_two_or_three_queues(rows, key):
    for group in key["two_labels"]:
        assert len({rows[ticket]["body"] for ticket in group}) == 1
        assert len({rows[ticket]["queue"] for ticket in group}) == len(group) >= 2


def test_no_text_stands_twice_that_the_key_does_not_list(rows, key):
    listed = {ticket for fault in (*COPIES, "empty", "too_short") for ticket in ids(key[fault])}
    bodies = Counter(cleaned(row["body"]).casefold() for row in rows.values() if row["ticket_id"] not in listed)
    assert [body for body, many in bodies.items() if many > 1] == []


def test_personal_data_stands_in_the_text_and_would_pass_for_real(rows, key):
    for span in key["personal_data"]:
        assert span["value"] in rows[span["id"]]["body"]
        assert REAL[span["kind"]](span["value"]), span
    assert {span["kind"] for span in key["personal_data"]} == set(REAL)


def test_no_address_or_long_number_stands_in_a_text_that_the_key_does_not_list(rows, key):
    listed = {*ids(key["personal_data"]), *key["too_long"]}
    loud = re.compile(r"@|\d{7}|\d[ -]\d{3}")
    assert [name for name, row in rows.items() if name not in listed and loud.search(row["body"])] == []


def test_empty_short_and_long_texts_are_all_in_the_key(rows, key):
    length = {name: len(cleaned(row["body"])) for name, row in rows.items()}
    assert [name for name in rows if length[name] == 0] == sorted(key["empty"])
    assert [name for name in rows if length[name] == 1] == sorted(key["too_short"])
    assert [name for name in rows if length[name] > 20_000] == sorted(key["too_long"])


def test_junk_and_missing_labels_are_all_in_the_key(rows, key):
    assert [name for name, row in rows.items() if row["queue"] == ""] == sorted(key["missing_label"])
    strange = [name for name, row in rows.items() if row["queue"] not in {"", *bodies.SIZES}]
    assert strange == sorted(key["junk_label"])
    assert max(Counter(rows[name]["queue"] for name in strange).values()) <= 2


def test_ambiguous_tickets_carry_one_of_their_two_queues_and_either_is_seen(rows, key):
    sides = Counter()
    for entry in key["ambiguous"]:
        assert len(set(entry["queues"])) == 2
        sides[entry["queues"].index(rows[entry["id"]]["queue"])] += 1
    assert min(sides[0], sides[1]) >= 30  # a coin toss, not a rule that a model could learn
