import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from retune.data import row_table, suppression
from retune.errors import Broken, Refused, WrongUse
from retune.evaluation.golden_cases import Case
from tasks.forget import forget as forget_module
from tasks.forget.forget import copies, forget, golden_cases_of, has_arrived

WHO = ("asked to be forgotten", "A. Tester <tester@example.com>", "2026-11-24T10:00:00+00:00")
RAW, LIST = Path("data/raw"), suppression.LIST


@pytest.fixture(autouse=True)
def clone_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    suppression.write(suppression.NOTHING, LIST)
    put(("1", "card lost"), ("2", "Card  LOST!"), ("3", "where is it"))


def put(*rows, part="00001"):
    table = pd.DataFrame([(id_, text, "a", "", "desk", "") for id_, text in rows], columns=list(row_table.COLUMNS))
    row_table.write(table.astype("str"), RAW / f"{part}.parquet")


def listed(*ids):
    return [bool(is_listed) for is_listed in suppression.contains(suppression.read(LIST), pd.Series(ids, dtype="str"))]


def test_forgotten_rows_are_on_the_list_from_then_on():
    done = forget(["1", " 3 "], *WHO)
    assert (done.added, done.known, done.listed) == (("1", "3"), (), 2)
    assert listed("1", "2", "3") == [True, False, True]
    row = suppression.read(LIST).rows[0]
    assert (row.reason, row.by, row.at) == WHO


def test_the_same_id_twice_adds_nothing():
    forget(["1"], *WHO)
    before = LIST.read_bytes()
    done = forget(["1", "1"], "another reason", *WHO[1:])
    assert (done.added, done.known, done.listed) == ((), ("1",), 1)
    assert LIST.read_bytes() == before


def test_an_unknown_id_is_refused_by_name_and_none_is_added():
    before = LIST.read_bytes()
    with pytest.raises(Refused, match=r"'T-9', 'x y'.*nothing was forgotten"):
        forget(["1", "T-9", "x y"], *WHO)
    assert LIST.read_bytes() == before


def test_an_id_that_came_in_is_told_from_one_that_did_not():
    assert (has_arrived("2"), has_arrived("T-9")) == (True, False)


def test_an_id_that_has_left_the_data_since_stays_known():
    forget(["1"], *WHO)
    put(("2", "b"))
    assert forget(["1"], *WHO).known == ("1",)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (([], *WHO), "one id or more"),
        ((["1", " "], *WHO), "none of them empty"),
        ((["1"], " ", *WHO[1:]), "say why"),
        ((["1"], WHO[0], "", WHO[2]), "say who"),
        ((["1"], *WHO[:2], "now"), "'now' is not a time"),
    ],
)
def test_a_call_that_leaves_something_out_is_a_wrong_use(call, message):
    with pytest.raises(WrongUse, match=message):
        forget(*call)
    assert suppression.read(LIST) == suppression.NOTHING


def test_a_damaged_or_missing_list_is_left_as_it_is():
    LIST.write_text('{"salt": "', "utf-8")
    with pytest.raises(Refused, match="not a list of suppressed rows"):
        forget(["1"], *WHO)
    assert LIST.read_text("utf-8") == '{"salt": "'
    LIST.unlink()
    with pytest.raises(Refused, match="is missing"):
        forget(["1"], *WHO)
    assert not LIST.exists()


def test_raw_rows_that_are_not_here_or_torn_are_no_answer():
    (RAW / "00002.parquet").write_bytes(b"torn")
    with pytest.raises(Broken, match="is no part"):
        forget(["1"], *WHO)
    for part in RAW.iterdir():
        part.unlink()
    Path("data/raw.dvc").write_text("outs: []\n")
    with pytest.raises(Broken, match="dvc pull"):
        forget(["1"], *WHO)


@pytest.mark.slow
def test_many_at_once_lose_nothing():
    put(*((str(n), f"text {n}") for n in range(12)))
    program = "import sys; from tasks.forget.forget import forget; forget([sys.argv[1]], 'asked', 'me', '2026-11-24')"
    env = {**os.environ, "PYTHONPATH": str(Path(forget_module.__file__).parents[1])}
    at_work = [subprocess.Popen([sys.executable, "-c", program, str(n)], env=env) for n in range(6)]
    assert [process.wait(60) for process in at_work] == [0] * 6
    assert listed(*map(str, range(8))) == [True] * 6 + [False] * 2
    assert len({row["id_sha256"] for row in json.loads(LIST.read_text("utf-8"))["rows"]}) == 6


def test_copies_under_other_ids_are_named():
    assert copies(["1", "3"]) == {"1": ("2",)}
    assert copies(["2", "1"]) == {"1": ("2",), "2": ("1",)}
    assert copies(["3"]) == copies(["nobody"]) == copies([]) == {}


def test_a_copy_after_cleaning_is_a_copy():
    put(("4", "ca\u200brd lo\u00adst"), part="00002")
    assert copies(["1"]) == {"1": ("2", "4")}


def test_copies_that_are_forgotten_too_are_named_no_more():
    forget(["1", "2"], *WHO)
    assert copies(["1"]) == {}


def test_every_state_of_the_row_counts_and_the_present_one_of_others():
    put(("1", "where is IT"), ("2", "corrected since"), part="00002")
    assert copies(["1"]) == {"1": ("3",)}
    put(("5", "card lost"), part="00003")
    assert copies(["1"]) == {"1": ("5", "3")}


def test_rows_without_words_are_no_copies_of_each_other():
    put(("4", ""), ("5", " \u200b"), part="00002")
    assert copies(["4"]) == {}


def test_a_row_stays_forgotten_however_its_number_is_spelled():
    put(("7.0", "card found"), part="00002")
    assert forget(["7"], *WHO).added == ("7.0",)
    assert listed("7", "7.0", "70") == [True, True, False]
    assert forget(["7"], *WHO).known == ("7.0",)


def test_golden_cases_that_hold_the_text_of_a_row_are_named():
    put(
        ("1", "card  found"),
        ("4", '[{"role":"user","content":"hi"},{"role":"user","content":"Where is IT?"}]'),
        part="00002",
    )
    cases = [Case(name, text, "a", "", "", "") for name, text in (("one", "Card lost!"), ("two", "where is it"))]
    assert golden_cases_of(["1", "2", "3", "9"], cases) == {"1": ("one",), "2": ("one",), "3": ("two",)}
    assert golden_cases_of(["4"], cases) == {"4": ("two",)}
    assert golden_cases_of(["1"], []) == {}
