import random
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from retune.data import row_table, task_data
from retune.errors import Broken, WrongUse
from tasks.curate import __main__ as stage
from tasks.curate import first_pass
from tasks.curate.__main__ import main
from tasks.curate.row_steps import Context, as_received
from tests.support.curation import NEAR, PATHS, WRITING, curate, rows

WORDS = [
    "router",
    "parcel",
    "refund",
    "card",
    "bill",
    "order",
    "phone",
    "line",
    "contract",
    "address",
    "price",
    "colour",
    "week",
    "shop",
]


def tickets(count, seed=1):
    chance = random.Random(seed)
    texts = [" ".join(chance.choices(WORDS, k=20)) for _ in range(count)]
    texts[1::4] = [f"{text} ann{n}@example.org {n}" for n, text in enumerate(texts[::4])]
    return rows(*((f"r{n}", text, f"queue {n % 3}", ["", "", "test"][n % 3]) for n, text in enumerate(texts)))


def context(config=NEAR, task="classify"):
    return Context(task_data.of(task), config)


@pytest.mark.slow
def test_the_number_of_processes_changes_no_byte(stage_folder, monkeypatch):
    row_table.write(tickets(300), Path("raw/000.parquet"))
    monkeypatch.setattr(stage.from_folder, "__defaults__", (16,))
    contents = []
    for count in (1, 3):
        monkeypatch.setattr(stage, "processes", lambda *_, count=count: count)
        main(*PATHS)
        contents.append([file.read_bytes() for file in [PATHS[4], *sorted(PATHS[3].iterdir())]])
    assert contents[0] == contents[1]


@pytest.mark.slow
def test_an_error_of_a_process_is_that_of_the_stage():
    batches = [as_received(pa.RecordBatch.from_pandas(rows(("1", "no messages", "yes")), preserve_index=False), 0)]
    with pytest.raises(WrongUse, match="row 1 of the raw rows holds no messages"):
        [*first_pass.examinations(batches, context(WRITING, "instruct"), ("empty",), 2)]


class Pool:
    def __init__(self, *_):
        self.waiting = self.most = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False

    def submit(self, _work, batch):
        if batch == "kill":
            raise first_pass.BrokenProcessPool("gone")
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        return self

    def result(self):
        self.waiting -= 1


def test_few_batches_are_read_ahead(monkeypatch):
    pool = Pool()
    monkeypatch.setattr(first_pass, "ProcessPoolExecutor", lambda *_: pool)
    assert len([*first_pass.examinations(range(100), context(), (), 2)]) == 100
    assert pool.most <= 5


def test_a_process_that_is_killed_is_told_in_words(monkeypatch):
    monkeypatch.setattr(first_pass, "ProcessPoolExecutor", Pool)
    with pytest.raises(Broken, match="one of 2 processes that clean rows was ended from outside"):
        [*first_pass.examinations(["kill"], context(), (), 2)]


def test_few_rows_and_a_model_of_names_need_one_process():
    assert first_pass.processes(first_pass.PARALLEL_ROWS - 1, context()) == 1
    assert first_pass.processes(10**7, replace(context(), name_finder=lambda _: [])) == 1
    assert first_pass.processes(10**7, context()) >= 1


def test_the_spool_gives_the_batches_back_and_leaves_no_file(tmp_path):
    batch = as_received(pa.RecordBatch.from_pandas(tickets(20), preserve_index=False), 0)
    part = first_pass.examine(batch, context(), context().facts.curation)
    with first_pass.open_spool(tmp_path) as spool:
        spool.add(part)
        spool.add(part)
        assert [each.equals(part.cleaned) for each in spool.cleaned()] == [True, True]
        assert not [*tmp_path.iterdir()]
    with first_pass.open_spool(tmp_path) as spool:
        assert [*spool.cleaned()] == []


HOSTILE = ["word ", "x", "\0", "\u202ecard\u202c lost ", "1 ", "<EMAIL_1>", "\u0301"]


def curate_hostile(text):
    accepted, rejects = curate(rows(("1", text, "a", "test"), ("2", text, "a"), ("3", "a lost card", "a")), NEAR)
    assert len(accepted) + len(rejects) == 3
    assert {*rejects["reason"]} <= {"too_long", "copy_of_test", "empty"}


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_of_one_token_ends_soon(text):
    curate_hostile(text * (50_000 // len(text)))


@pytest.mark.slow
@pytest.mark.parametrize("text", ["word ", "x", "\0"])
def test_ten_megabytes_of_one_token_end_in_bounded_time(text):
    began = time.monotonic()
    curate_hostile(text * (10_000_000 // len(text)))
    assert time.monotonic() - began < 60
