"""One shape for records of today, and those that were written before the gate had bounds."""

import copy
import json

import pytest

from retune.errors import Broken, Refused
from retune.lineage import record as records

LATER = ("worse", "reasons", "champion_test", "bounds", "latency")  # fields of the gate
OF_RIVALS = ("outcome", "worse", "needed", "differing")


def old(record):
    """The same record as it was written in schema 1."""
    old_record = copy.deepcopy(record) | {"schema_version": 1}
    for name in LATER:
        del old_record["gate"][name]
    for rival in old_record["gate"]["rivals"]:
        for name in OF_RIVALS:
            del rival[name]
    return old_record


def test_a_record_comes_back_as_it_was_written(record, tmp_path):
    records.write(record, tmp_path / records.FILE)
    assert records.read(tmp_path / records.FILE) == record


def test_a_record_of_schema_1_can_be_read_and_its_reasons_are_those_of_the_rivals(record, tmp_path):
    old_record = old(record)
    records.write(old_record, tmp_path / records.FILE)
    assert records.read(tmp_path / records.FILE) == old_record
    assert records.reasons_of(old_record["gate"]) == tuple(rival["reason"] for rival in record["gate"]["rivals"])
    assert len(records.reasons_of(record["gate"])) == 5


@pytest.mark.parametrize("name", LATER)
def test_a_record_of_today_lacks_nothing_of_its_gate(record, name, tmp_path):
    del record["gate"][name]
    assert any(name in problem for problem in records.problems(record))
    with pytest.raises(Broken, match=name):
        records.write(record, tmp_path / records.FILE)


@pytest.mark.parametrize("name", OF_RIVALS)
def test_nor_of_its_rivals(record, name):
    del record["gate"]["rivals"][0][name]
    assert any(name in problem for problem in records.problems(record))


def test_a_version_of_the_schema_that_is_not_known_is_refused_in_words(record, tmp_path):
    (tmp_path / records.FILE).write_text(json.dumps(record | {"schema_version": 3}), "utf-8")
    with pytest.raises(Refused, match=r"no record of this version of Retune: schema_version: 3"):
        records.read(tmp_path / records.FILE)
