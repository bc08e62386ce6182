import re

import pytest

from retune.documents import sankey


def kinds(data):
    return [ribbon.kind for ribbon in sankey.picture(data).ribbons]


def test_a_ribbon_is_as_thick_as_it_has_rows_and_never_too_thin_to_be_seen():
    assert sankey.thickness(1000, 1000) == sankey.THICK
    assert sankey.thickness(500, 1000) == sankey.THICK / 2
    assert sankey.thickness(1, 1_000_000) == sankey.THIN
    assert sankey.thickness(0, 1000) == sankey.thickness(0, 0) == 0


def test_the_road_leads_from_sources_past_the_rejected_to_the_champion(record):
    assert kinds(record["data"]) == [
        "source",
        "source",
        "left",
        "rows",
        "rows",
        "train",
        "val",
        "test",
        "base",
        "model",
        "last",
    ]


def test_nothing_is_drawn_of_what_has_no_rows(record):
    record["data"]["rejected"]["rows"] = record["data"]["sides"]["val"]["rows"] = 0
    assert {"left", "val"} & set(kinds(record["data"])) == set()


def test_many_sources_become_the_largest_and_the_rest(record):
    one = record["data"]["sources"]["desk"]
    record["data"]["sources"] = {f"desk {number}": {**one, "received": number} for number in range(200)}
    drawn = sankey.picture(record["data"]).sources
    assert [mark.text for mark in drawn] == ["desk 199", "desk 198", "desk 197", "desk 196", "196 more sources"]


def test_no_source_is_said_to_be_none(record):
    record["data"]["sources"] = {}
    assert [mark.text for mark in sankey.picture(record["data"]).sources] == ["No source named"]


@pytest.mark.parametrize(
    ("raw", "curated", "rejected", "side"), [(0, 0, 0, 0), (1, 1, 0, 1), (10, 1000, 5000, 9000), (10**9, 1, 10**9, 1)]
)
def test_whatever_the_counts_the_picture_stays_inside_its_frame(record, raw, curated, rejected, side):
    data = record["data"]
    for name, rows in (("raw", raw), ("curated", curated), ("rejected", rejected)):
        data[name]["rows"] = rows
    for each in data["sides"].values():
        each["rows"] = side
    for source in data["sources"].values():
        source["received"] = raw
    for ribbon in sankey.picture(data).ribbons:
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", ribbon.path)]
        assert all(-1 <= number <= sankey.WIDTH for number in numbers), ribbon
