"""What comes in: every row once, whole, under an id that it keeps; or a plain no, and data/raw as it was."""

import json
import tempfile
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.data import row_table, values
from retune.data.row_table import OTHER
from retune.errors import Refused, WrongUse
from tasks.ingest import Columns, Origin
from tests.support.ingesting import ID, RAW, bytes_of_raw, column, ingest, put, refused, rows, take

pytestmark = pytest.mark.usefixtures("scratch_folder")


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
    report = take("id,text,label,x,y\n1,a,p,,\n2,B,p,,\n3,c,p,,\n3,c,p,,\n", ID)
    assert (report.received, report.added, report.corrected, report.known, report.repeated) == (4, 1, 1, 1, 1)
    assert (report.total, report.unused) == (4, ("x", "y"))
    assert report.part == next(RAW.glob("00002-tickets-????????.parquet"))


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
    content_id, given_id = column("id")
    assert content_id.startswith("r-") and given_id == "9"


def test_overlapping_exports_of_two_sources_meet():
    take("text,label\na,x\nb,x\n", name="june.csv")
    report = take('{"text":"b","label":"x"}\n{"text":"c","label":"x"}\n', name="july.jsonl")
    assert (report.added, report.known) == (1, 1)


def test_group_and_side_belong_to_the_content():
    take("text,label,g\na,x,1\na,x,2\n", Columns(group="g"))
    assert len(set(column("id"))) == 2


def test_an_id_with_other_words_is_appended_as_a_correction():
    take("id,text,label\n1,a,x\n", ID)
    report = take("id,text,label\n1,a,y\n", ID)
    assert (report.corrected, report.total) == (1, 2)
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


def test_a_wrong_column_is_named_beside_those_there_and_the_closest():
    phrases = ("'bodi'", "subject, body, label", "did you mean 'body'?", "--text")
    refused(WrongUse, "subject,body,label\n1,2,3\n", *phrases, columns=Columns(text="bodi"))


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
    expected = [(text, values.whole(label), sides[side]) for text, label, side in records]
    assert sorted(row[1:] for row in whole) == sorted(expected)


def test_a_number_is_one_id_label_and_group_in_every_format():
    columns = Columns(id="id", group="group")
    take("id,text,label,group\n1.0,card,2.0,3.0\n", columns)
    take(json.dumps({"id": 1, "text": "card", "label": 2, "group": 3}), columns, name="b.jsonl")
    pq.write_table(pa.table({"id": [1, 4], "text": ["lost", "new"], "label": [2.0, 2.0], "group": [3, 3]}), "c.parquet")
    ingest("c.parquet", RAW, columns)
    assert [column(name) for name in ("id", "label", "group")] == [["1", "1", "4"], ["2"] * 3, ["3"] * 3]


def test_two_spellings_of_one_id_in_a_file_are_one_row_or_refused():
    report = take("id,text,label\n1,a,p\n1.0,a,p\n", ID)
    assert (report.added, report.repeated) == (1, 1)
    refused(Refused, "id,text,label\n2,a,p\n2.0,b,p\n", "id '2' stands at lines 2 and 3", columns=ID)


def test_a_number_that_came_before_as_one_with_decimals_keeps_its_id():
    row_table.write(
        pd.DataFrame([("1.0", "a", "p", "", "tickets", "")], columns=[*row_table.COLUMNS]), RAW / "00001-a.parquet"
    )
    assert take("id,text,label\n1.0,a,p\n", ID).known == 1
    assert take("id,text,label\n1,b,p\n", ID).corrected == 1
    assert set(column("id")) == {"1.0"}


def slices_of(part):
    return pq.read_table(part)["slices"].to_pylist()


def test_a_column_to_keep_stays_with_its_row():
    columns = Columns(id="id", keep=("channel", "region"))
    report = take("id,text,label,channel,region\n1,a,p,mail,EU\n2,b,p,,\n", columns)
    assert slices_of(report.part) == ['{"channel": "mail", "region": "EU"}', ""]
    assert report.unused == ()


def test_the_id_made_from_content_does_not_depend_on_what_is_kept():
    table = "text,label,channel\na,p,mail\n"
    take(table, Columns())
    (before,) = column("id")
    report = take(table, Columns(keep=("channel",)))
    assert (report.corrected, report.added) == (1, 0)
    assert {*column("id")} == {before}


def test_a_part_of_an_earlier_release_stays_beside_one_that_keeps_columns():
    take("id,text,label\n1,a,p\n", ID)
    table = "id,text,label,channel\n1,a,p,mail\n2,b,p,chat\n"
    columns = Columns(id="id", keep=("channel",))
    report = take(table, columns)
    assert (report.added, report.corrected) == (1, 1)
    again = take(table, columns)
    assert (again.known, again.part) == (2, None)
    without = take("id,text,label\n3,c,p\n", ID)
    assert (without.added, without.total) == (1, 4)


def test_a_column_to_keep_that_is_not_there_is_named():
    columns = Columns(id="id", keep=("chanel",))
    phrases = ("has no column 'chanel'", "did you mean 'channel'", "--keep COLUMN")
    refused(WrongUse, "id,text,label,channel\n1,a,p,mail\n", *phrases, columns=columns)


def test_a_part_is_ingested_with_its_slices():
    part = take("id,text,label,channel\n1,a,p,mail\n", Columns(id="id", keep=("channel",))).part
    copy = Path("copy.parquet")
    copy.write_bytes(part.read_bytes())
    part.unlink()
    columns = Columns(text="text", label="label", id="id", group="group", split="given", slices="slices")
    report = ingest(str(copy), RAW, columns)
    assert slices_of(report.part) == ['{"channel": "mail"}']


def test_the_label_of_no_label_needs_no_column_and_one_of_that_name_is_read():
    take("id,body\n1,Guten Morgen\n2,hello\n", Columns(text="body", label=OTHER, id="id"))
    assert column("label") == [OTHER, OTHER]
    take("id,body,__other__\n3,what is it,bills\n", Columns(text="body", label=OTHER, id="id"))
    assert column("label") == [OTHER, OTHER, "bills"]
    take(f"id,text,label\n4,some words,bills\n5,others,{OTHER}\n", Columns(id="id"))
    assert column("label")[-2:] == ["bills", OTHER]
