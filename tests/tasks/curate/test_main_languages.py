"""The language of each row as one of its slices."""

from pathlib import Path

import pytest

from retune.data import row_table, slices
from retune.errors import WrongUse
from tasks.curate.__main__ import main
from tests.support.curation import PATHS, rows

GERMAN, ENGLISH = "Mein Konto ist seit gestern gesperrt", "My account has been locked since yesterday"


@pytest.fixture
def two_languages(stage_folder):
    params = Path("params.yaml").read_text("utf-8")
    Path("params.yaml").write_text(params.replace("languages: []", "languages: [de, en]"), "utf-8")


def cells(name):
    table = row_table.read(PATHS[3] / f"{name}.parquet")
    return {row_id: slices.parse(cell) for row_id, cell in zip(table["id"], table["slices"], strict=True)}


def test_rows_that_keep_no_column_have_their_language(two_languages):
    texts = (GERMAN, ENGLISH, "0815 4711", "")
    table = rows(*((str(number), text, "access", "test") for number, text in enumerate(texts, 1)))
    row_table.write(table, Path("raw/000.parquet"))
    main(*PATHS)
    assert cells("rows") == {"1": {"language": "de"}, "2": {"language": "en"}, "3": {}}
    assert cells("rejects") == {"4": {}}


def test_a_row_keeps_its_columns_and_the_language_that_it_came_with(two_languages):
    table = rows(("1", GERMAN, "access", "test"), ("2", ENGLISH, "access", "test"))
    row_table.write(table.assign(slices=['{"channel": "mail"}', '{"language": "British"}']), Path("raw/000.parquet"))
    main(*PATHS)
    assert cells("rows") == {"1": {"channel": "mail", "language": "de"}, "2": {"language": "British"}}


def test_a_language_that_is_not_known_ends_in_words(stage_folder):
    params = Path("params.yaml").read_text("utf-8")
    Path("params.yaml").write_text(params.replace("languages: []", "languages: [en, xx]"), "utf-8")
    row_table.write(rows(("1", ENGLISH, "a")), Path("raw/000.parquet"))
    with pytest.raises(WrongUse, match="names xx"):
        main(*PATHS)
