import pytest

from retune.pages import text_formats


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-11-24T10:14:55.120+00:00", "24 November 2026, 10:14 UTC"),
        ("2026-11-24T01:30:00+02:00", "23 November 2026, 23:30 UTC"),
        ("2026-11-24T10:14:55Z", "24 November 2026, 10:14 UTC"),
        ("<b>yesterday</b>", "<b>yesterday</b>"),
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00+14:00"),
    ],
)
def test_times_are_told_in_words(moment, expected):
    assert text_formats.in_words(moment) == expected
