from pathlib import Path

import pandas as pd
import pytest

from retune.data import row_table
from retune.errors import Broken
from retune.serving import database, served_rows
from tasks.forget.served import forget_served
from tests.support import served


@pytest.fixture(autouse=True)
def records(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for part, text in (("00001", "Card lost, call ann@example.org"), ("00002", "Card stolen!")):
        table = pd.DataFrame([("7", text, "a", "", "desk", "")], columns=list(row_table.COLUMNS)).astype("str")
        row_table.write(table, Path(f"data/raw/{part}.parquet"))


def test_a_forgotten_row_leaves_the_log_in_every_state_that_it_had(tmp_path, monkeypatch):
    monkeypatch.setenv(database.ADDRESS, f"sqlite:///{tmp_path}/serving.db")
    texts = ["card LOST, call ann@example.org.", "card stolen", "card found"]
    served.write(database.connect(), [served.answer(text, number) for number, text in enumerate(texts)])
    assert forget_served(["7"]) == 2
    assert [served_rows.of_request(database.connect(), f"r{number}")[0]["text"] for number in range(3)] == [
        None,
        None,
        "card found",
    ]


def test_where_nothing_was_served_nothing_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(database.backend, "state", lambda: tmp_path)
    assert forget_served(["7"]) == 0
    assert not (tmp_path / database.FILE).exists()


def test_a_log_that_is_away_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv(database.ADDRESS, f"sqlite:///{tmp_path}/no/folder/serving.db")
    with pytest.raises(Broken, match="is away: unable to open database file"):
        forget_served(["7"])
