"""Which arm a subject belongs to."""

from hypothesis import given
from hypothesis import strategies as st

from retune.serving.split import Split, place

SUBJECTS = [f"customer {number}" for number in range(4_000)]


def split(percent, salt="s"):
    return Split("r", salt, percent, False)


@given(st.text(), st.integers(1, 100), st.integers(1, 100))
def test_raising_the_share_moves_nobody_back_from_the_challenger(subject, one, other):
    low, high = sorted((one, other))
    assert split(high).takes(subject) or not split(low).takes(subject)


@given(st.text())
def test_at_a_hundred_the_challenger_has_everybody_and_at_none_nobody(subject):
    assert split(100).takes(subject)
    assert not split(0).takes(subject)
    assert 0 <= place("s", subject) < 1


def test_the_shares_are_those_of_the_step():
    for percent in (1, 5, 25, 50):
        count = sum(map(split(percent).takes, SUBJECTS))
        expected, deviation = 40 * percent, (40 * percent * (1 - percent / 100)) ** 0.5
        assert abs(count - expected) < 4 * deviation


def test_another_salt_begins_with_other_subjects():
    one, other = ({each for each in SUBJECTS if split(5, salt).takes(each)} for salt in ("s", "t"))
    assert len(one & other) < 40  # by chance a twentieth of 200


def test_the_place_of_a_subject_is_its_hmac():
    # python -c "import hmac; print(hmac.new(b'salt', b'customer 7', 'sha256').hexdigest())"
    assert place("salt", "customer 7") == int("3f373731122ce51d", 16) / 2**64 // 2**-53 * 2**-53
