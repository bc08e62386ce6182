"""The samples for models that write are what `replies.py` makes, and hold what its docstring says."""

import csv
import importlib.util
from collections import Counter
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parent / "samples"
FILES = ("preferences.csv", "replies.csv")


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("replies_generator", SAMPLES / "replies.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(name):
    with (SAMPLES / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_generator_writes_the_shipped_files_again_byte_for_byte(generator, tmp_path):
    generator.main(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == list(FILES)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (SAMPLES / name).read_bytes(), name


def test_the_samples_stay_small_enough_to_ship():
    assert sum((SAMPLES / name).stat().st_size for name in FILES) < 600_000


def test_every_reply_names_its_matter_and_is_signed(generator):
    replies = rows("replies.csv")
    assert len(replies) == generator.REPLIES
    assert set(Counter(row["intent"] for row in replies)) == set(generator.INTENTS)
    for row in replies:
        first, middle, last = row["completion"].split("\n")
        assert first.endswith(".") and middle.endswith(".") and last == generator.SIGN_OFF


def test_a_reply_speaks_of_the_order_item_plan_and_month_that_were_asked_about(generator):
    values = {value for name in ("order", "plan", "amount") for value in generator.SLOTS[name]}
    for row in rows("replies.csv"):
        named = {value for value in values if value in row["completion"]}
        assert named <= {value for value in values if value in row["prompt"]}, row


def test_no_request_stands_twice_in_either_file():
    prompts = [row["prompt"] for name in FILES for row in rows(name)]
    assert len(set(prompts)) == len(prompts)


def test_a_rejected_reply_differs_and_every_fault_occurs(generator):
    pairs = rows("preferences.csv")
    assert len(pairs) == generator.PAIRS
    assert all(row["chosen"] != row["rejected"] and row["chosen"].endswith(generator.SIGN_OFF) for row in pairs)
    assert 80 < sum(row["rejected"] in generator.CURT for row in pairs) < 160
    assert 80 < sum(row["rejected"].startswith(generator.RUDE) for row in pairs) < 160


def test_a_customer_writes_one_to_six_times():
    for name in FILES:
        often = Counter(row["customer_id"] for row in rows(name))
        assert max(often.values()) == 6 and min(often.values()) == 1
