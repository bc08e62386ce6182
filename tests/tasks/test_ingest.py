"""What comes in: every row once, whole, under an id that it keeps; or a plain no, and data/raw as it was."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.data import row_table, task_data
from retune.data.readers import NoRows
from retune.errors import Broken, Refused, RetuneError, WrongUse
from tasks import ingest as ingest_module
from tasks.ingest import Columns, IngestResult, Origin

RAW = Path("data/raw")
BITEXT = (
    Path(__file__).parents[3] / "shared/data/bitext_support_sft/Bitext_Sample_Customer_Support_Training_Dataset.csv"
)
ID = Columns(id="id")
ingest = partial(ingest_module.ingest, task="classify")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(text, name="tickets.csv"):
    Path(name).write_bytes(text.encode() if isinstance(text, str) else text)
    return name


def take(text, columns=Columns(), name="tickets.csv", licence=None, collected=None, **more) -> IngestResult:  # noqa: B008
    return ingest(put(text, name), RAW, columns, origin=Origin(None, licence, collected), **more)


def rows():
    return row_table.read(RAW).to_dict("records")


def column(name):
    return [row[name] for row in rows()]


def bytes_of_raw():
    return {path.name: path.read_bytes() for path in RAW.glob("*")} if RAW.exists() else None


def refused(error, text, *said, columns=Columns(), name="tickets.csv"):  # noqa: B008
    """The source is turned down in these words, and data/raw stays as it was."""
    before = bytes_of_raw()
    with pytest.raises(error) as caught:
        take(text, columns, name)
    assert type(caught.value) is error
    for words in said:
        assert words in str(caught.value)
    assert bytes_of_raw() == before


# ---- what a row becomes


def test_a_row_has_every_column_as_text_and_no_nulls():
    take("id,body,queue,who,side\n 7 ,hi,a,c1,dev\n", Columns("body", "queue", "id", "who", "side"))
    (part,) = RAW.glob("*.parquet")
    table = pq.read_table(part)
    assert table.column_names == list(row_table.COLUMNS)
    assert all(pa.types.is_string(kind) or pa.types.is_large_string(kind) for kind in table.schema.types)
    assert table.to_pylist() == [
        {"id": "7", "text": "hi", "label": "a", "group": "c1", "source": "tickets", "given": "val"}
    ]


def test_the_answer_counts_every_row_once_and_names_unused_columns():
    take("id,text,label,x\n1,a,p,\n2,b,p,\n", ID)
    said = take("id,text,label,x,y\n1,a,p,,\n2,B,p,,\n3,c,p,,\n3,c,p,,\n", ID)
    assert (said.received, said.added, said.corrected, said.known, said.repeated) == (4, 1, 1, 1, 1)
    assert (said.total, said.unused) == (4, ("x", "y"))
    assert said.part == next(RAW.glob("00002-tickets-????????.parquet"))


def test_the_source_is_the_stem_of_the_file_or_the_given_name():
    assert take("text,label\na,b\n", name="Zen Desk.csv").part.name.startswith("00001-zen-desk-")
    take("text,label\nc,d\n", name="y.csv")
    ingest(put("text,label\ne,f\n"), RAW, Columns(), origin=Origin("../Mail / 2024"))
    assert column("source") == ["Zen Desk", "y", "../Mail / 2024"]
    assert len(list(RAW.glob("00003-mail-2024-*.parquet"))) == 1


def test_text_is_kept_to_the_letter():
    odd = ' "Zo\u00eb"\x00,\u2028 \U0001f600\tNA null nan\r\nsecond line '
    quoted = odd.replace('"', '""')
    take(f'text,label\n"{quoted}",NA\n', name="a.csv")
    take(json.dumps({"text": odd, "label": "null"}), name="b.jsonl")
    assert [(row["text"], row["label"]) for row in rows()] == [(odd, "NA"), (odd, "null")]


# ---- ids


def test_the_same_file_twice_adds_nothing():
    first = take("text,label\na,x\na,x\nb,y\n")
    before = bytes_of_raw()
    again = take("text,label\na,x\na,x\nb,y\n")
    assert (first.added, again.added, again.known, again.part, again.total) == (3, 0, 3, None, 3)
    assert bytes_of_raw() == before


def test_exact_copies_in_one_file_are_kept_as_rows_of_their_own():
    take("text,label\na,x\na,x\na,x\n")
    first, second, third = column("id")
    assert first.startswith("r-") and len(first) == 18
    assert (second, third) == (f"{first}-2", f"{first}-3")


def test_the_id_made_from_content_never_changes():
    take("text,label\nMy card was charged twice,refunds\n")
    assert column("id") == ["r-8448d14c75fc6bbe"]


def test_an_empty_id_cell_gets_an_id_from_content():
    take("id,text,label\n  ,a,x\n9,b,y\n", ID)
    made, given_id = column("id")
    assert made.startswith("r-") and given_id == "9"


def test_overlapping_exports_of_two_sources_meet():
    take("text,label\na,x\nb,x\n", name="june.csv")
    said = take('{"text":"b","label":"x"}\n{"text":"c","label":"x"}\n', name="july.jsonl")
    assert (said.added, said.known) == (1, 1)


def test_group_and_side_belong_to_the_content():
    take("text,label,g\na,x,1\na,x,2\n", Columns(group="g"))
    assert len(set(column("id"))) == 2


def test_an_id_with_other_words_is_appended_as_a_correction():
    take("id,text,label\n1,a,x\n", ID)
    said = take("id,text,label\n1,a,y\n", ID)
    assert (said.corrected, said.total) == (1, 2)
    assert column("label") == ["x", "y"]


def test_rows_known_from_any_earlier_part_are_left_out():
    old = "id,text,label\n1,a,x\n"
    take(old, ID)
    take("id,text,label\n1,a,y\n", ID)
    assert take(old, ID).known == 1


def test_one_id_with_two_contents_in_one_file_is_refused_with_both_lines():
    text = 'id,text,label\n1,"a\na",x\n2,b,x\n1,c,x\n'
    refused(Refused, text, "'1'", "lines 2 and 5", columns=ID)


def test_parts_are_read_in_the_order_in_which_they_came():
    for number in range(11):
        take(f"text,label\n{number},x\n", name=f"{'zyxwvutsrqp'[number]}.csv")
    assert column("text") == [str(number) for number in range(11)]


# ---- which column is which


def test_a_wrong_column_is_named_beside_those_there_and_the_closest():
    said = ("'bodi'", "subject, body, label", "did you mean 'body'?", "--text")
    refused(WrongUse, "subject,body,label\n1,2,3\n", *said, columns=Columns(text="bodi"))


def test_without_a_text_or_label_column_the_user_is_told_which_option_to_pass():
    refused(WrongUse, "body,label\na,b\n", "'text'", "it has body, label. Say which", "--text")
    refused(WrongUse, "text,queue\na,b\n", "'label'", "text, queue", "--label")


@pytest.mark.parametrize("role", ["id", "group", "split"])
def test_every_other_column_is_looked_for_too(role):
    refused(WrongUse, "text,label\na,b\n", "'nope'", f"--{role}", columns=Columns(**{role: "nope"}))


def test_a_split_column_is_normalised():
    sides = ["train", "val", "validation", "Dev", " test ", ""]
    take("text,label,s\n" + "".join(f"{n},x,{side}\n" for n, side in enumerate(sides)), Columns(split="s"))
    assert column("given") == ["train", "val", "val", "val", "test", ""]


def test_a_side_may_be_given_for_all_rows():
    take("text,label\na,x\nb,x\n", Columns(split="validation"))
    assert column("given") == ["val", "val"]


def test_a_column_that_is_called_like_a_side_is_a_column():
    take("text,label,test\na,x,train\n", Columns(split="test"))
    assert column("given") == ["train"]


def test_another_word_in_a_split_column_is_refused():
    refused(Refused, "text,label,s\na,x,train\nb,x,hold\n", "line 3", "'hold'", columns=Columns(split="s"))


# ---- CSV and TSV


def test_a_csv_with_bom_quoted_newlines_blank_lines_and_a_huge_field_is_read():
    huge = "long " * 60_000
    take(f'\ufefftext,label\r\n"one\ntwo ""2""",a\r\n\r\n{huge},b\r\n')
    assert column("text") == ['one\ntwo "2"', huge]


def test_a_tsv_is_parted_by_tabs():
    take("text\tlabel\na, b\tx\n", name="t.TSV")
    assert column("text") == ["a, b"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("text,label,text\na,b,c\n", ["'text'", "are called"]),
        ('text,label\n"a\nb",c\nd\n', ["line 4", "1 fields", "2"]),
        ("text,label\na,b,c\n", ["line 2", "3 fields"]),
        ('text,label\na,b\n"c,d\ne,f\n', ["line 3", "end of data"]),
        ('text,label\n"a"b,c\n', ["line 2"]),
    ],
)
def test_a_csv_that_is_no_table_is_refused(text, said):
    take("text,label\nbefore,x\n", name="before.csv")
    refused(Refused, text, "tickets.csv", *said)


@pytest.mark.parametrize(
    ("name", "text"), [("t.csv", ""), ("t.csv", "\n\n"), ("t.csv", "text,label\n"), ("t.jsonl", ""), ("t.json", "[]")]
)
def test_a_source_with_no_rows_is_refused_by_an_error_of_its_own(name, text):
    take("text,label\nbefore,x\n", name="before.csv")
    refused(NoRows, text, name, "no rows", name=name)


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.json"])
def test_a_file_that_is_not_utf8_is_refused_with_the_place_of_the_byte(name):
    start = b"text,label\n" + "é,x\n".encode() * 5000
    refused(Refused, start + b"caf\xe9,x\n", "line 5002", f"byte {len(start) + 3} ", "0xe9", "iconv", name=name)
    refused(Refused, "text,label\na,b\n".encode("utf-16"), "line 1, byte 0 ", name=name)


# ---- JSON


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
    ("name", "text", "said"),
    [
        ("t.jsonl", '{"text":"a","label":"b"}\n{"text":"c","la', ["line 2", "column 13"]),
        ("t.jsonl", '{"text":"a","label":"b"}\n[1]\n', ["line 2", "['1']"]),
        ("t.jsonl", '\n{"text":["a"],"label":"b"}\n', ["line 2", "text", "['a']"]),
        ("t.jsonl", '{"text":"a","label":{"b":1}}\n', ["line 1", "label"]),
        ("t.jsonl", '{"text":"a \\ud83d b","label":"b"}\n', ["line 1", "text", "surrogate"]),
        ("t.jsonl", '{"text":"a","label":"b","\\ud83d":1}\n', ["column", "surrogate"]),
        ("t.jsonl", "[" * 100_000, ["line 1", "deep"]),
        ("t.json", '[{"text":"a",\n "label"}]', ["line 2, column 9"]),
        ("t.json", '{"rows": []}', ["list of objects"]),
        ("t.json", '[{"text":"a","label":"b"}, 7]', ["row 2"]),
    ],
)
def test_json_that_is_no_table_is_refused_with_its_place(name, text, said):
    refused(Refused, text, name, *said, name=name)


def test_a_whole_surrogate_pair_is_text():
    take('{"text":"\\ud83d\\ude00","label":"b"}', name="t.jsonl")
    assert column("text") == ["\U0001f600"]


# ---- Parquet


def test_a_parquet_file_of_typed_columns_is_read_as_text():
    pd.DataFrame(
        {
            "text": pd.Categorical(["a", "b"]),
            "label": [True, None],
            "id": [7.0, None],
            "vector": [[1.0], [2.0]],
        }
    ).to_parquet("t.parquet")
    said = ingest("t.parquet", RAW, ID)
    assert said.unused == ("vector",)
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


# ---- files that are not there


def test_a_missing_file_a_folder_and_an_unknown_suffix_are_wrong_use():
    Path("folder.csv").mkdir()
    for source, said in [("nope.csv", "No such file"), ("folder.csv", "directory"), ("t.xlsx", ".jsonl")]:
        with pytest.raises(WrongUse, match=said):
            ingest(source, RAW, Columns())
    assert not RAW.exists()


# ---- datasets


@pytest.fixture
def hub(monkeypatch, here):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(here / "cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    folder = here / "news"
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
    told = {row["text"]: (row["label"], row["given"], row["source"]) for row in rows()}
    assert told == {
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


# ---- what is stated of a source

STATED = RAW / "sources.json"


def test_licence_and_window_are_kept_only_if_they_are_stated():
    take("text,label\na,b\n")
    assert not STATED.exists()
    take("text,label\nc,d\n", name="b.csv", licence=" CC-BY-4.0 ", collected="2026-01/2026-03")
    take("text,label\ne,f\n", name="a.csv", collected="2025")
    assert STATED.read_text("utf-8") == (
        '{\n  "a": {\n    "collected": "2025"\n  },\n'
        '  "b": {\n    "collected": "2026-01/2026-03",\n    "licence": "CC-BY-4.0"\n  }\n}\n'
    )


def test_the_same_ingest_twice_changes_nothing_and_a_new_word_replaces_the_old_one():
    text = "text,label\na,b\n"
    take(text, licence="MIT", collected="2026")
    before = bytes_of_raw()
    take(text, licence="MIT", collected="2026")
    take(text)
    assert bytes_of_raw() == before
    said = take(text, licence="CC0-1.0")
    assert (said.added, said.part) == (0, None)
    assert json.loads(STATED.read_text("utf-8")) == {"tickets": {"licence": "CC0-1.0", "collected": "2026"}}


@pytest.mark.parametrize("error", [Broken("no store"), KeyboardInterrupt()])
def test_when_an_ingest_fails_what_was_stated_is_as_before(error):
    def fail():
        assert STATED.exists()
        raise error

    with pytest.raises(type(error)):
        take("text,label\na,b\n", licence="MIT", track=fail)
    assert not RAW.exists()
    take("text,label\na,b\n", licence="MIT")
    before = bytes_of_raw()
    for text in ("text,label\na,b\n", "text,label\nc,d\n"):
        with pytest.raises(type(error)):
            take(text, licence="CC0-1.0", track=fail)
        assert bytes_of_raw() == before


def test_a_word_that_is_no_window_stops_the_ingest_before_anything_is_read():
    for more in ({"collected": "last spring"}, {"licence": " "}, {"collected": ""}):
        with pytest.raises(WrongUse):
            ingest("nowhere.csv", RAW, Columns(), origin=Origin(**more))
    assert not RAW.exists()


def test_a_damaged_file_of_sources_stops_the_ingest():
    take("text,label\na,b\n", licence="MIT")
    STATED.write_text('{"tickets": ', "utf-8")
    refused(Broken, "text,label\nc,d\n", "sources.json", "dvc checkout")


# ---- tracking, crashes, company


def test_tracking_follows_every_ingest_even_when_nothing_is_new():
    seen = []
    for _ in range(2):
        take("text,label\na,b\n", track=lambda: seen.append(len(list(RAW.glob("*.parquet")))))
    assert seen == [1, 1]


@pytest.mark.parametrize("error", [Broken("no store"), KeyboardInterrupt()])
def test_when_tracking_fails_data_raw_is_as_before(error):
    def fail():
        raise error

    with pytest.raises(type(error)):
        take("text,label\na,b\n", track=fail)
    assert not RAW.exists()
    take("text,label\na,b\n")
    before = bytes_of_raw()
    with pytest.raises(type(error)):
        take("text,label\nc,d\n", track=fail)
    assert bytes_of_raw() == before


def test_parts_that_dvc_made_read_only_are_left_alone():
    part = take("text,label\na,b\n").part
    part.chmod(0o444)
    before = part.stat()
    take("text,label\nc,d\n")
    assert (part.stat().st_mtime_ns, part.stat().st_mode) == (before.st_mtime_ns, before.st_mode)


def test_rows_that_dvc_knows_of_but_are_not_here_stop_the_ingest():
    Path("data").mkdir()
    Path("data/raw.dvc").write_text("outs: []\n")
    refused(Broken, "text,label\na,b\n", "dvc pull")


def test_a_foreign_or_torn_file_in_data_raw_stops_the_ingest():
    take("text,label\na,b\n")
    for content in (b"torn", Path(put_parquet({"x": ["y"]})).read_bytes()):
        (RAW / "00002-x.parquet").write_bytes(content)
        refused(Broken, "text,label\nc,d\n", "data/raw", "dvc checkout")


def put_parquet(columns):
    pq.write_table(pa.table(columns), "foreign.parquet")
    return "foreign.parquet"


def test_an_ingest_that_was_killed_is_finished_by_the_next():
    put("text,label\na,b\n")
    killed = (
        "import os, signal; from pathlib import Path; from tasks.ingest import Columns, ingest;"
        "kill = lambda: os.kill(os.getpid(), signal.SIGKILL);"
        "ingest('tickets.csv', Path('data/raw'), Columns(), 'classify', track=kill)"
    )
    root = Path(ingest_module.__file__).parents[1]
    ended = subprocess.run([sys.executable, "-c", killed], env={**os.environ, "PYTHONPATH": str(root)})
    assert ended.returncode == -signal.SIGKILL
    (RAW / ".00002-x.parquet.123.tmp").write_bytes(b"half")
    tracked = []
    said = take("text,label\na,b\n", track=lambda: tracked.append(True))
    assert (said.known, said.total, tracked) == (1, 1, [True])
    assert [path.suffix for path in RAW.iterdir()] == [".parquet"]


def test_two_ingests_at_once_take_turns():
    inside = []

    def track():
        inside.append("in")
        time.sleep(0.05)
        inside.append("out")

    for name in "abcd":
        put(f"text,label\nshared,x\n{name},x\n", f"{name}.csv")
    jobs = [
        threading.Thread(target=ingest, args=(f"{name}.csv", RAW, Columns()), kwargs={"track": track})
        for name in "abcd"
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert inside == ["in", "out"] * 4
    assert sorted(column("text")) == ["a", "b", "c", "d", "shared"]
    assert [path.name[:5] for path in sorted(RAW.iterdir())] == ["00001", "00002", "00003", "00004"]


def test_an_ingest_that_waits_too_long_says_for_what(monkeypatch):
    monkeypatch.setattr(ingest_module, "PATIENCE", 0.05)

    def meanwhile():
        with pytest.raises(Broken, match="another ingest"):
            ingest(put("text,label\nc,d\n", "other.csv"), RAW, Columns())

    job_errors = []

    def track():
        job = threading.Thread(target=lambda: job_errors.append(meanwhile()))
        job.start()
        job.join()

    take("text,label\na,b\n", track=track)
    assert job_errors == [None]


# ---- whatever comes

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(WORDS, WORDS, st.sampled_from(["", "train", "dev"])), min_size=1, unique=True),
    st.lists(st.integers(0, 12), max_size=4),
)
def test_however_the_rows_are_parted_every_one_arrives_once_under_the_same_id(records, cuts):
    def arrived(*chunks):
        with tempfile.TemporaryDirectory() as folder:
            raw = Path(folder) / "raw"
            for chunk in filter(None, chunks):
                keyed = [dict(zip(("text", "label", "side"), record, strict=True)) for record in chunk]
                put(json.dumps(keyed), "t.json")
                ingest("t.json", raw, Columns(split="side"))
            return sorted(row_table.read(raw)[["id", "text", "label", "given"]].itertuples(index=False, name=None))

    edges = sorted({0, *(cut for cut in cuts if cut < len(records)), len(records)})
    chunks = [records[start:end] for start, end in pairwise(edges)]
    whole = arrived(records)
    assert arrived(*chunks, records) == whole
    assert len({row[0] for row in whole}) == len(records)
    sides = {"": "", "train": "train", "dev": "val"}
    assert sorted(row[1:] for row in whole) == sorted((text, label, sides[side]) for text, label, side in records)


# ---- where a model is to write

ASKED = '[{"role":"user","content":"Where is it?\\n\\nMy order."}]'
SAID = {"prompt": "Where is it?\n\nMy order.", "completion": "I look.\n- today"}
PAIR = {"prompt": SAID["prompt"], "chosen": SAID["completion"], "rejected": "No."}


def lines(*records):
    return "\n".join(json.dumps(record) for record in records)


def test_a_prompt_is_kept_as_messages_and_an_answer_with_its_lines():
    done = take(lines({**SAID, "who": "c1", "x": "y"}), Columns(group="who"), "said.jsonl", task="instruct")
    assert (done.format, done.unused) == ("prompt and completion", ("x",))
    (row,) = rows()
    assert (row["text"], row["label"], row["group"]) == (ASKED, SAID["completion"], "c1")
    assert list(row) == list(row_table.COLUMNS)


def test_a_pair_keeps_its_worse_answer():
    assert take(lines(PAIR), name="pairs.jsonl", task="prefer").format == "chosen and rejected"
    (row,) = rows()
    assert (row["text"], row["label"], row["rejected"]) == (ASKED, SAID["completion"], "No.")
    assert tuple(row) == task_data.of("prefer").columns


@pytest.mark.parametrize(("task", "record"), [("instruct", SAID), ("prefer", PAIR)])
def test_conversations_twice_add_nothing_and_a_part_of_raw_is_known_to_the_letter(task, record):
    take(lines(record, record), name="said.jsonl", task=task)
    before = bytes_of_raw()
    assert take(lines(record, record), name="said.jsonl", task=task).known == 2
    (part,) = RAW.glob("*.parquet")
    own = Columns(text="text", label="label", id="id", group="group", split="given")
    assert ingest(str(part), RAW, own, origin=Origin("said"), task=task).known == 2
    assert bytes_of_raw() == before


def test_another_worse_answer_is_a_correction():
    take(lines({**PAIR, "id": 1}), ID, "pairs.jsonl", task="prefer")
    assert take(lines({**PAIR, "id": 1, "rejected": "Never."}), ID, "pairs.jsonl", task="prefer").corrected == 1


def test_one_row_that_is_no_conversation_brings_nothing_in():
    with pytest.raises(Refused, match=r"said.jsonl, line 2: .* comes last"):
        asks = {"role": "user", "content": "a"}
        fine = {"messages": [asks, {"role": "assistant", "content": "b"}]}
        take(lines(fine, {"messages": [asks]}), name="said.jsonl", task="instruct")
    assert bytes_of_raw() is None


def test_the_rows_of_two_tasks_do_not_mix():
    take(lines(SAID), name="said.jsonl", task="instruct")
    with pytest.raises(WrongUse, match="rows of another task"):
        take(lines(PAIR), name="pairs.jsonl", task="prefer")
    with pytest.raises(WrongUse, match="only task prefer has one"):
        take("text,label,x\na,b,c\n", Columns(rejected="x"))


@pytest.mark.skipif(not BITEXT.exists(), reason="needs the support replies")
def test_real_support_replies_come_in_whole():
    done = ingest(str(BITEXT), RAW, Columns("instruction", "response"), task="instruct")
    assert (done.added, done.format) == (4514, "the columns instruction and response")
    assert sum("\n" in row["label"] for row in rows()) > 1000
