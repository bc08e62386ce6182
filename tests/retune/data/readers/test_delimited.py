"""CSV files as spreadsheets, databases and other programs write them."""

import csv
import io

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.data.readers import records
from retune.data.readers.delimited import sniff
from retune.data.readers.records import Reading
from retune.data.readers.source import NoRows, read
from retune.errors import Refused, WrongUse

WANTED = frozenset(["text", "label"])


@pytest.fixture
def table(tmp_path):
    def of(text, name="t.csv", **reading):
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read(str(path), Reading(**{"must_have": WANTED, **reading}))

    return of


def rows(table, *columns):
    return [*zip(*(table.column(name) for name in columns or ("text", "label")), strict=True)]


@pytest.mark.parametrize(
    "text",
    [
        "text;label\nPaket kam nicht an;Versand\n",
        'text;label\n"Paket kam nicht an";Versand\n',
        "sep=;\r\ntext;label\r\nPaket kam nicht an;Versand\r\n",
        "\ufeffsep=;\r\ntext;label\r\nPaket kam nicht an;Versand\r\n",
        "text\tlabel\nPaket kam nicht an\tVersand\n",
        "text|label\nPaket kam nicht an|Versand\n",
        "text:label\nPaket kam nicht an:Versand\n",
        "text\x01label\nPaket kam nicht an\x01Versand\n",
        "sep=^\ntext^label\nPaket kam nicht an^Versand\n",
        "text,label\rPaket kam nicht an,Versand\r",
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.txt"])
def test_the_delimiter_is_found_by_content_whatever_the_suffix(table, text, name):
    assert rows(table(text, name)) == [("Paket kam nicht an", "Versand")]


def test_commas_in_texts_do_not_hide_the_semicolon():
    lines = ["a;b\n", '"Wo ist es, bitte?";x\n', "hallo, geht das?;y\n", "ja, nein, doch;z\n"]
    assert sniff(lines, frozenset(), ",") == ";"
    assert sniff(["text,label\n", "a;b,c\n", "d;e,f\n"], WANTED, ";") == ","


def test_a_person_may_name_the_delimiter(table):
    assert rows(table("text:label\na,b:c\n", delimiter=":")) == [("a,b", "c")]
    assert rows(table("text\tlabel\na\tc\n", delimiter="tab")) == [("a", "c")]
    with pytest.raises(WrongUse, match="--delimiter '::' is not one character"):
        table("text::label\n", delimiter="::")


def test_quotes_that_a_backslash_escapes_are_read(table):
    read_table = table('text,label\n"He said \\"no\\" twice",x\n"a 5\\" pipe, leaking","C:\\\\"\n')
    assert rows(read_table) == [('He said "no" twice', "x"), ('a 5" pipe, leaking', "C:\\")]
    assert "quotes are escaped by a backslash" in read_table.notes


def test_outside_of_quotes_a_backslash_escapes_nothing(table):
    read_table = table('text,label\n"say \\"no\\"",\\\\server\\\\share\n"two\nlines \\\\ \\"x\\"",\\\\\n')
    assert rows(read_table) == [('say "no"', "\\\\server\\\\share"), ('two\nlines \\ "x"', "\\\\")]


def test_a_backslash_stays_where_quotes_are_doubled(table):
    assert rows(table('text,label\n"C:\\new ""x""",C:\\dir\\\n')) == [('C:\\new "x"', "C:\\dir\\")]


def test_a_tsv_that_quotes_nothing_keeps_its_quotes(table):
    read_table = table('text\tlabel\n"Hello" she said\tx\nthe 5" pipe\ty\n', "t.tsv")
    assert rows(read_table) == [('"Hello" she said', "x"), ('the 5" pipe', "y")]
    assert "quotes are part of the text" in read_table.notes


def test_after_a_row_with_broken_quotes_the_others_come_with_their_lines(table):
    good = "".join(f"row {number},x\n" for number in range(5))
    read_table = table(f'text,label\n{good}"a"b,x\n{good}"open,x\n{good}')
    assert [*read_table.places] == [2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 14, 15, 16, 17, 18]
    assert [(each.place, each.fault.reason) for each in read_table.rejects] == [
        (7, "broken quotes"),
        (13, "broken quotes"),
    ]
    assert read_table.rejects[1].content == '"open,x\n'


def test_a_row_of_another_width_is_a_reject_with_the_line_in_which_it_begins(table):
    read_table = table('text,label\n"a\nb",x\nc,d,e\n"f\ng"\nh,y\n')
    assert rows(read_table) == [("a\nb", "x"), ("h", "y")]
    assert [(each.place, each.fault.message[:8], each.content) for each in read_table.rejects] == [
        (4, "3 fields", "c,d,e\n"),
        (5, "1 fields", '"f\ng"\n'),
    ]


def test_what_a_spreadsheet_leaves_behind_is_no_column_and_no_row(table):
    read_table = table("text,label,,\na,b,,\nc,d\n,,,\n , ,,\ne,f,,,,\n")
    assert (read_table.names, rows(read_table)) == (["text", "label"], [("a", "b"), ("c", "d"), ("e", "f")])
    assert read_table.notes == ["passed over 2 empty rows"]


@pytest.mark.parametrize(
    "text",
    [
        ",text,label\n0,a,b\n1,c,d\n",  # pandas
        '"","text","label"\n"1","a","b"\n"2","c","d"\n',  # R, write.csv
        '"text","label"\n"1","a","b"\n"2","c","d"\n',  # R, write.table
    ],
)
def test_a_column_of_row_names_is_called_by_its_number(table, text):
    read_table = table(text)
    assert (read_table.names, rows(read_table)) == (["column 1", "text", "label"], [("a", "b"), ("c", "d")])


def test_an_empty_cell_at_the_end_of_a_row_with_a_name_is_no_cell_too_many(table):
    assert rows(table('"text","label"\n"1","a",""\n"2","b",""\n')) == [("a", ""), ("b", "")]
    assert rows(table("text,label\n1,a,\n2,b,\n")) == [("1", "a"), ("2", "b")]


@pytest.mark.parametrize("title", ["Tickets of May\n\n", "Tickets of May,\n,\n", "Tickets;May\nby desk\n"])
@pytest.mark.parametrize("must_have", [WANTED, frozenset()])
def test_titles_above_the_header_are_passed_over(table, title, must_have):
    if title.startswith("Tickets;"):
        must_have = WANTED
    read_table = table(f"{title}text,label\na,b\nc,d\n", must_have=must_have)
    assert rows(read_table) == [("a", "b"), ("c", "d")]
    assert read_table.places[0] == 2 + title.count("\n")
    assert any("above the header" in note for note in read_table.notes)


def test_invisible_characters_are_no_part_of_a_name(table):
    assert table("text\u200b,\u00a0label \u200e\na,b\n").names == ["text", "label"]


def test_a_header_that_stands_again_is_no_row(table):
    joined = table('\ufefftext,label\na,b\n\ufefftext,label\n\ufeff"c",d\n')
    assert rows(joined) == [("a", "b"), ("c", "d")]


def test_a_doubled_name_is_numbered_unless_both_columns_are_equal(table):
    read_table = table("id,text,label,id,at,at\n1,a,b,77,x,x\n")
    assert read_table.names == ["id (column 1)", "text", "label", "id (column 4)", "at"]
    assert read_table.column("id (column 4)") == ["77"]
    assert "they are 'id (column 1)' and 'id (column 4)'" in read_table.notes[0]


def test_without_a_header_columns_are_called_by_their_numbers(table):
    read_table = table("a,b\nc,d\n", header=False)
    assert rows(read_table, "column 1", "column 2") == [("a", "b"), ("c", "d")]
    assert [*read_table.places] == [1, 2]


@pytest.mark.parametrize("text", ["", "\n\n", "text,label\n", ",,\n"])
def test_a_file_without_rows_says_so(table, text):
    with pytest.raises(NoRows):
        table(text)


# Python's writer leaves a lone carriage return without quotes, and then it ends the line.
SIGNS = st.sampled_from('\\",;|\t\n ')  # that mean something to one or the other
LETTERS = SIGNS | st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff\r\0")
CELLS = st.text(LETTERS, max_size=8)
RECORDS = st.lists(st.tuples(st.just("x") | CELLS.map(lambda cell: f"{cell}."), CELLS), min_size=1, max_size=6)
HEADER = ("text", "label")


def excel(records, delimiter, separator_line):
    """As Excel saves them: quotes where they are needed, a line `sep=` if somebody put it there, and a mark."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator="\r\n")
    writer.writerows([HEADER, *records])
    return f"sep={delimiter}\r\n" * separator_line + buffer.getvalue()


def pandas(records, index):
    return pd.DataFrame(records, columns=[*HEADER]).to_csv(index=index, lineterminator="\n")


def r(records, row_names):
    """As write.csv does, or write.table, which leaves out the name of the row names: all texts in quotes, NA bare."""

    def quote(cell):
        return "NA" if cell == "NA" else '"' + cell.replace('"', '""') + '"'

    head = {"write.csv": ["", *HEADER], "write.table": HEADER, "none": HEADER}[row_names]
    names = [[f'"{n}"'] if row_names != "none" else [] for n in range(1, len(records) + 1)]
    rows = [[*name, *map(quote, record)] for name, record in zip(names, records, strict=True)]
    return "".join(",".join(row) + "\n" for row in [[*map(quote, head)], *rows])


def spark(records):
    """As Spark does: quotes where they are needed, escaped by a backslash; a backslash before a quote too."""

    def cell(text):
        if not any(each in text for each in ',"\n') and text == text.strip() and text:
            return text
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    return "".join(",".join(map(cell, row)) + "\n" for row in [HEADER, *records])


def records_of(path, content, encoding="utf-8"):
    path.write_bytes(content.encode(encoding))
    read_table = read(str(path), Reading(must_have=WANTED))
    assert not read_table.rejects
    return rows(read_table)


@pytest.fixture(scope="module")
def round_trip(tmp_path_factory):
    return tmp_path_factory.mktemp("round") / "round.csv"


@settings(max_examples=40, deadline=None)
@given(RECORDS, st.sampled_from(",;\t"), st.booleans(), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_what_excel_writes_comes_back_to_the_letter(round_trip, records, delimiter, separator_line, encoding):
    content = excel(records, delimiter, separator_line)
    assert records_of(round_trip, content, encoding) == [row for row in records if row != HEADER]


@settings(max_examples=40, deadline=None)
@given(RECORDS, st.booleans())
def test_what_pandas_writes_comes_back_to_the_letter(round_trip, records, index):
    assert records_of(round_trip, pandas(records, index)) == [row for row in records if row != HEADER or index]


@settings(max_examples=40, deadline=None)
@given(RECORDS, st.sampled_from(["write.csv", "write.table", "none"]))
def test_what_r_writes_comes_back_to_the_letter(round_trip, records, row_names):
    records = [(text, "NA" if number % 2 else label) for number, (text, label) in enumerate(records)]
    assert records_of(round_trip, r(records, row_names)) == [
        row for row in records if row != HEADER or row_names != "none"
    ]


@settings(max_examples=40, deadline=None)
@given(RECORDS)
def test_what_spark_writes_comes_back_to_the_letter(round_trip, records):
    if not any('"' in cell for record in records for cell in record):
        records = [*records, ('a "quote"', "x")]  # without one nothing tells a backslash from an escape
    assert records_of(round_trip, spark(records)) == [row for row in records if row != HEADER]


@pytest.mark.parametrize("text", ["grüßt", "заказ не пришёл вовремя", "我的订单没有到", "यह कहाँ है", "parcel 📦"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("times", [1, 999])
def test_wide_text_without_a_mark_is_named_in_any_language(table, text, encoding, times):
    content = ("text,label\r\n" + f"{text},a\r\n" * times).encode(encoding)
    with pytest.raises(Refused, match=rf"is not UTF-8, but seems to be {encoding}: .* If so: --encoding {encoding}"):
        table(content)
    assert set(rows(table(content, encoding=encoding))) == {(text, "a")}


def test_utf16_without_a_mark_and_other_encodings_are_named_and_not_taken(table):
    with pytest.raises(Refused, match=r"seems to be utf-16-le: 'grüßt'.*--encoding utf-16-le"):
        table("text,label\nHallo grüßt,a\n".encode("utf-16-le"))
    with pytest.raises(Refused, match=r"not UTF-8: line 2, byte 1 \(0xe7\).* cp1251 reads 'заказ'"):
        table("text,label\nзаказ не пришёл,a\nвозврат денег,b\n".encode("cp1251"))
    assert rows(table("text,label\n返品したい,b\n".encode("shift_jis"), encoding="shift_jis")) == [("返品したい", "b")]
    with pytest.raises(WrongUse, match="--encoding klingon"):
        table("text,label\na,b\n", encoding="klingon")


def test_a_line_in_another_encoding_is_a_reject_among_lines_of_utf8(table):
    read_table = table("text,label\nMüller,a\nGröße,b\n".encode() + b"Stra\xdfe,c\nok,d\n")
    assert [row[1] for row in rows(read_table)] == ["a", "b", "d"]
    (reject,) = read_table.rejects
    assert (reject.place, reject.fault.reason) == (4, "not UTF-8")
    assert "byte 5 (0xdf)" in reject.fault.message


def test_a_line_of_nul_bytes_is_a_reject_and_no_other_encoding(table):
    read_table = table(b"text,label\n" + b"a,b\n" * 9 + b"c\0d,e\n" + b"\0" * 50)
    assert rows(read_table)[9:] == [("c\0d", "e")]
    assert [(each.place, each.fault.reason) for each in read_table.rejects] == [(12, "NUL bytes")]
    assert read_table.rejects[0].fault.message == "50 of 50 characters are NUL: copy the file again"
    with pytest.raises(Refused, match="is no text, but NUL bytes, as a write that broke off leaves them: copy it"):
        table(b"\0" * 5000)


def test_a_file_of_which_hardly_a_line_fits_is_given_up_early(table, monkeypatch):
    monkeypatch.setattr(records, "STEP", 50)
    with pytest.raises(Refused, match="is no table: 49 of its first 50 records cannot be read"):
        table("text,label\na,b\n" + "plain words\n" * 100)
    escaped = "text,label\n" + '"a \\"b\\" c",x\n' * 100
    assert len(table(escaped).places) == 100
    with pytest.raises(Refused, match="is not UTF-8"):
        table(b"text,label\n" + "Straße\n".encode("cp1252") * 100)
