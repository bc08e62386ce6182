"""Which files and datasets are read, and how those that are none are refused."""

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retune.data.readers.source import NoRows
from retune.errors import Broken, Refused, RetuneError, WrongUse
from tasks.ingest import Columns
from tests.support.ingesting import ID, RAW, column, ingest, put, refused, rows, take

pytestmark = pytest.mark.usefixtures("scratch_folder")


def test_a_csv_with_bom_quoted_newlines_blank_lines_and_a_huge_field_is_read():
    huge = "long " * 60_000
    take(f'\ufefftext,label\r\n"one\ntwo ""2""",a\r\n\r\n{huge},b\r\n')
    assert column("text") == ['one\ntwo "2"', huge]


def test_a_tsv_is_parted_by_tabs():
    take("text\tlabel\na, b\tx\n", name="t.TSV")
    assert column("text") == ["a, b"]


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ('text,label\n"a\nb",c\nd\n', ["line 4", "1 fields", "2"]),
        ("text,label\na,b,c\n", ["line 2", "3 fields"]),
        ('text,label\na,b\n"c,d\ne,f\n', ["line 3", "end of data"]),
        ('text,label\n"a"b,c\n', ["line 2"]),
    ],
)
def test_a_csv_that_is_no_table_is_refused(text, phrases):
    take("text,label\nbefore,x\n", name="before.csv")
    refused(Refused, text, "tickets.csv", *phrases)


def test_a_file_whose_first_line_is_a_row_is_refused_with_the_option_that_reads_it():
    phrases = ["has no column 'text'", "--text COLUMN, or --no-header if these are a row"]
    refused(WrongUse, "parcel late,shipping\nbill wrong,billing\n", "tickets.csv", *phrases)
    with pytest.raises(WrongUse) as error:
        take('[{"body": "parcel late"}]', name="t.json")
    assert "--no-header" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "text"), [("t.csv", ""), ("t.csv", "\n\n"), ("t.csv", "text,label\n"), ("t.jsonl", ""), ("t.json", "[]")]
)
def test_a_source_with_no_rows_is_refused_by_an_error_of_its_own(name, text):
    take("text,label\nbefore,x\n", name="before.csv")
    refused(NoRows, text, name, "no rows", name=name)


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.txt"])
def test_a_file_that_is_not_utf8_is_refused_with_the_place_of_the_byte(name):
    start = b"text,label\n" + "é,x\n".encode() * 5000
    refused(Refused, start + b"caf\xe9,x\n", "line 5002", "byte 4 ", "0xe9", name=name)


def test_json_values_become_text_and_null_becomes_empty():
    take('{"text": true, "label": 1.10, "id": 12345678901234567890123}\n\n{"text": null, "id": NaN}\n',
         ID, "t.jsonl")  # fmt: skip
    assert [(row["text"], row["label"]) for row in rows()] == [("true", "1.10"), ("", "")]
    assert column("id")[0] == "12345678901234567890123"


def test_a_json_list_and_data_under_a_key_are_the_same():
    records = [{"text": "a", "label": "x"}, {"label": "y", "text": "b"}]
    take(json.dumps(records), name="a.json")
    assert take(json.dumps({"data": records, "version": 1}), name="b.json").known == 2
    assert take("\n".join(map(json.dumps, records)), name="c.ndjson").known == 2


@pytest.mark.parametrize(
    ("name", "text", "phrases"),
    [
        ("t.jsonl", '{"text":"a","label":"b"}\n{"text":"c","la', ["line 2", "column 13"]),
        ("t.jsonl", '{"text":"a","label":"b"}\n[1]\n', ["line 2", "['1']"]),
        ("t.jsonl", '\n{"text":["a"],"label":"b"}\n', ["line 2", "text", "['a']"]),
        ("t.jsonl", '{"text":"a","label":{"b":1}}\n', ["line 1", "label"]),
        ("t.jsonl", '{"text":"a \\ud83d b","label":"b"}\n', ["line 1", "text", "surrogate"]),
        ("t.jsonl", "[" * 100_000, ["line 1", "deep"]),
        ("t.json", '[{"text":"a",\n "label"}]', ["line 2, column 9"]),
        ("t.json", '[{"text":"a","label":"b"}, 7]', ["row 2"]),
    ],
)
def test_json_that_is_no_table_is_refused_with_its_place(name, text, phrases):
    refused(Refused, text, name, *phrases, name=name)


def test_a_whole_surrogate_pair_is_text():
    take('{"text":"\\ud83d\\ude00","label":"b"}', name="t.jsonl")
    assert column("text") == ["\U0001f600"]


def test_a_parquet_file_of_typed_columns_is_read_as_text():
    pd.DataFrame(
        {
            "text": pd.Categorical(["a", "b"]),
            "label": [True, None],
            "id": [7.0, None],
            "vector": [[1.0], [2.0]],
        }
    ).to_parquet("t.parquet")
    report = ingest("t.parquet", RAW, ID)
    assert report.unused == ("vector",)
    assert (column("text"), column("label"), column("id")[0]) == (["a", "b"], ["true", ""], "7")


def test_a_torn_parquet_file_is_refused():
    pd.DataFrame({"text": ["a"], "label": ["b"]}).to_parquet("t.parquet")
    whole = Path("t.parquet").read_bytes()
    for torn in (b"", whole[:-20], whole[20:]):
        refused(Refused, torn, "t.parquet", "Parquet", name="t.parquet")


def test_lists_and_bytes_in_a_chosen_parquet_column_are_refused():
    pd.DataFrame({"text": [["a"]], "label": ["b"]}).to_parquet("t.parquet")
    refused(Refused, Path("t.parquet").read_bytes(), "row 1", "text", name="t.parquet")
    pq.write_table(pa.table({"text": [b"\xff"], "label": ["b"]}), "t.parquet")
    refused(Refused, Path("t.parquet").read_bytes(), "row 1", "text", name="t.parquet")


def test_a_missing_file_a_folder_and_an_unknown_suffix_are_wrong_use():
    Path("folder.csv").mkdir()
    for source, message in [
        ("nope.csv", "No such file"),
        ("folder.csv", "no file that is read"),
        (put("a,b", "t.foo"), ".jsonl"),
    ]:
        with pytest.raises(WrongUse, match=message):
            ingest(source, RAW, Columns())
    assert not RAW.exists()


@pytest.fixture
def hub(monkeypatch, scratch_folder):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(scratch_folder / "cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    folder = scratch_folder / "news"
    folder.mkdir()
    for side, label in [("train", 0), ("validation", 1), ("test", -1)]:
        features = datasets.Features(
            {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
        )
        table = pa.table({"text": [f"{side} row"], "label": [label]}, features.arrow_schema)
        pq.write_table(table, folder / f"{side}.parquet")
    return f"hf:{folder}"


def test_every_split_of_a_dataset_becomes_a_side_and_class_numbers_get_their_names(hub):
    assert ingest(hub, RAW, Columns()).added == 3
    table = {row["text"]: (row["label"], row["given"], row["source"]) for row in rows()}
    assert table == {
        "train row": ("no", "train", "news"),
        "validation row": ("yes", "val", "news"),
        "test row": ("", "test", "news"),
    }


def test_one_split_of_a_dataset_has_no_side_unless_the_user_gives_one(hub):
    ingest(f"{hub}:validation", RAW, Columns())
    ingest(f"{hub}:test", RAW, Columns(split="test"))
    assert [(row["text"], row["given"]) for row in rows()] == [("validation row", ""), ("test row", "test")]


def test_a_dataset_that_cannot_be_had_is_one_plain_message(hub):
    for source, error in [
        ("hf:ag_news", Broken),
        ("hf:/no/such/folder", WrongUse),
        (f"{hub}:nope", WrongUse),
        ("hf:", WrongUse),
    ]:
        with pytest.raises(error, match="hf:"):
            ingest(source, RAW, Columns())
    assert not RAW.exists()


def test_a_broken_file_in_a_dataset_is_one_plain_message(hub):
    Path("bad").mkdir()
    put('text,label\n"a,b\n', "bad/train.csv")
    with pytest.raises(RetuneError, match="bad"):
        ingest("hf:bad", RAW, Columns())


def test_a_split_that_is_no_side_has_to_be_chosen(hub):
    Path("mixed").mkdir()
    for side in ("train", "test"):
        put(f"text,label\n{side},x\n", f"mixed/{side}.csv")
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: train.csv\n"
    put(card + "  - split: unsupervised\n    path: test.csv\n---\n", "mixed/README.md")
    with pytest.raises(WrongUse, match="unsupervised"):
        ingest("hf:mixed", RAW, Columns())
    assert ingest("hf:mixed:unsupervised", RAW, Columns()).added == 1
