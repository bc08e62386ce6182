import hashlib
import io
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.config.classification import Curate
from retune.config.generation import GenerationCurate
from retune.data import messages, row_table, suppression, task_data
from retune.data.row_table import COLUMNS, clean
from retune.errors import Refused, WrongUse
from retune.system import files
from tasks import ingest
from tasks.curate import __main__ as stage
from tasks.curate.__main__ import main
from tasks.curate.report import Tally
from tasks.curate.row_steps import Context
from tasks.curate.table_steps import digests

LENIENT = Curate(min_chars=1, max_chars=1000, min_label_rows=1)
BANKING77 = Path(__file__).parents[3] / "shared" / "data" / "banking77"


def rows(*given_rows):
    """Rows of (id, text, label) or (id, text, label, given)."""
    full = [(*row, "")[:4] for row in given_rows]
    return pd.DataFrame(
        [(id_, text, label, "", "desk", given) for id_, text, label, given in full], columns=list(COLUMNS)
    ).astype("str")


def curate(table, config=LENIENT, listed=suppression.NOTHING, task="classify", batch_rows=stage.BATCH_ROWS):
    return stage.curate(table, Context(task_data.of(task), config, listed), batch_rows)


def curate_general(examples, records, config):
    words = ["\n".join(message["content"] for message in messages.parse(text)) for text in records["text"]]
    keys = row_table.same_text(pd.Series([*map(row_table.clean_lines, words)], dtype="str"))
    return stage.curate_general(examples, Context(task_data.of("instruct"), config), digests(keys))


def report(table, config=LENIENT, listed=suppression.NOTHING, task="classify"):
    context = Context(task_data.of(task), config, listed)
    stream, tally = stage.from_frame(table, context.facts.columns), Tally(context.facts)
    decision, _ = stage.decide(stream, context, context.facts.curation, tally)
    for kept, rejects in stage.outcome(stream, context, decision):
        tally.sort(kept, rejects)
    return tally.report()


def outcome(table, params=LENIENT):
    kept, rejects = curate(table, params)
    return list(kept["id"]), [tuple(reject) for reject in rejects[["id", "reason", "detail"]].to_numpy()]


# ---- cleaning --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dirty", "tidy"),
    [
        ("  two\t words\r\n here ", "two words here"),
        ("cafe\u0301", "caf\u00e9"),
        ("zero\u200bwidth \ufeffmark\x00\x07", "zerowidth mark"),
        ("no\u00a0break", "no break"),
        (
            "family \U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f",
            "family \U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f",
        ),
        ("loose\u200d \u200djoiner", "loose joiner"),
        ("e\u200b\u0301", "\u00e9"),
        (" \u200b\n\u200d ", ""),
    ],
)
def test_a_text_is_cleaned(dirty, tidy):
    assert clean(dirty) == tidy


@given(st.text())
def test_cleaning_twice_changes_nothing_more(text):
    assert clean(clean(text)) == clean(text)


# ---- each reason -----------------------------------------------------------------------------------------


def test_the_newest_row_of_an_id_wins():
    kept, rejects = curate(rows(("1", "old", "a"), ("2", "other", "a"), ("1", "new", "b")), LENIENT)
    assert list(zip(kept["id"], kept["text"], strict=True)) == [("2", "other"), ("1", "new")]
    assert list(zip(rejects["text"], rejects["reason"], strict=True)) == [("old", "superseded")]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("", "some words", "a"), "no_id"),
        (("1", " \u200b\n", "a"), "empty"),
        (("1", "some words", " \t"), "no_label"),
        (("1", " abc ", "a"), "too_short"),
        (("1", "a text that is far too long", "a"), "too_long"),
    ],
)
def test_an_unusable_row_is_rejected(row, reason):
    params = Curate(min_chars=4, max_chars=10, min_label_rows=1)
    assert [reject[1] for reject in outcome(rows(row), params)[1]] == [reason]


def test_lengths_at_the_limits_are_kept():
    params = Curate(min_chars=4, max_chars=10, min_label_rows=1)
    assert outcome(rows(("1", "four", "a"), ("2", "tentenchar", "a")), params) == (["1", "2"], [])


def test_the_first_of_equal_rows_is_kept():
    table = rows(("1", "Card lost", "a"), ("2", "card  LOST", "a"), ("3", "ｃard lost", " a "))
    assert outcome(table) == (["1"], [("2", "exact_copy", "1"), ("3", "exact_copy", "1")])


def test_one_text_under_two_labels_is_rejected_under_both():
    table = rows(("1", "card lost", "b"), ("2", "Card lost", "a"), ("3", "card lost", "b"), ("4", "other", "a"))
    assert outcome(table) == (["4"], [(id_, "conflicting_labels", "a | b") for id_ in "123"])


def test_a_label_with_few_rows_left_is_rejected():
    table = rows(("1", "one", "a"), ("2", "two", "a"), ("3", "three", "b"), ("4", "Three", "b"))
    assert outcome(table, Curate(min_chars=1, max_chars=99, min_label_rows=2)) == (
        ["1", "2"],
        [("3", "rare_label", "1"), ("4", "exact_copy", "3")],
    )


# ---- rows that must not be learned from ------------------------------------------------------------------

FORGOTTEN = suppression.add(suppression.NOTHING, ["1"], "asked", "A. Tester", "2026-11-24T10:00:00Z")


def test_a_suppressed_row_is_rejected_in_all_its_states_and_on_every_side():
    table = rows(("1", "old", "a"), ("2", "other", "a"), ("1", "new", "b", "test"), (" ", "third", "a"))
    kept, rejects = curate(table, LENIENT, FORGOTTEN)
    assert list(kept["id"]) == ["2"]
    assert list(rejects["reason"]) == ["suppressed", "suppressed", "no_id"]


def test_nothing_of_a_suppressed_row_but_id_source_and_side_is_written_anew():
    table = rows(("1", "my secret", "a", "train"), ("2", "other", "")).assign(group="c7")
    _, rejects = curate(table, LENIENT, FORGOTTEN)
    assert rejects.iloc[0].to_dict() == {
        "id": "1", "text": "", "label": "", "group": "", "source": "desk", "given": "train",
        "reason": "suppressed", "detail": "",
    }  # fmt: skip
    assert rejects.iloc[1]["text"] == "other" and rejects.iloc[1]["group"] == "c7"


def test_a_suppressed_row_no_longer_stands_in_the_way_of_others():
    table = rows(("1", "card lost", "a", "test"), ("2", "card lost", "b"), ("3", "Card lost", "b"))
    assert outcome(table) == (["1"], [("2", "contradicts_test", "1"), ("3", "contradicts_test", "1")])
    kept, rejects = curate(table, LENIENT, FORGOTTEN)
    assert list(kept["id"]) == ["2"] and list(rejects["reason"]) == ["suppressed", "exact_copy"]
    assert report(table, LENIENT, FORGOTTEN)["reasons"]["suppressed"] == 1


# ---- the data's own test side ----------------------------------------------------------------------------


def test_a_test_row_stays_byte_for_byte():
    strict = Curate(min_chars=5, max_chars=6, min_label_rows=3)
    table = rows(("1", " a\u200b ", "x", "test"), ("2", "A", "x", "test"), ("3", "A", "y", "test"))
    kept, rejects = curate(table, strict)
    assert list(kept["text"]) == [" a\u200b ", "A", "A"]
    assert rejects.empty


def test_a_test_row_without_text_or_label_is_rejected():
    table = rows(("1", " ", "x", "test"), ("2", "words", " ", "test"))
    assert outcome(table) == ([], [("1", "empty", ""), ("2", "no_label", "")])


def test_other_rows_give_way_to_test_rows():
    table = rows(
        ("1", "card lost", "a", "train"),
        ("2", "Card  lost", "b"),
        ("3", " card lost\n", "a", "test"),
        ("4", "fine", "a", "val"),
    )
    assert outcome(table) == (["3", "4"], [("1", "copy_of_test", "3"), ("2", "contradicts_test", "3")])


# ---- the whole -------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "1", "2", "3", "4", "5"]),
            st.sampled_from(["", "a", "A ", "b\u200b", "b", "longer text"]),
            st.sampled_from(["", "x", "x ", "y"]),
            st.sampled_from(["", "train", "val", "test"]),
        ),
        max_size=12,
    ),
    st.integers(1, 3),
)
def test_no_row_is_lost_or_doubled(some, least):
    table = rows(*some)
    before = table.copy()
    kept, rejects = curate(table, Curate(min_chars=1, max_chars=5, min_label_rows=least))
    assert len(kept) + len(rejects) == len(table)
    assert sorted([*kept.index, *rejects.index]) == list(table.index)
    assert kept["id"].is_unique
    assert not row_table.same_text(kept["text"].map(clean).astype("str"))[kept["given"] != "test"].duplicated().any()
    pd.testing.assert_frame_equal(rejects[list(COLUMNS)], table.loc[rejects.index])
    pd.testing.assert_frame_equal(table, before)


CELLS = {
    "id": ["", "1", "2", "3", "4", "5"],
    "text": ["", "a", "A ", "b\u200b", "b", "longer text"],
    "answer": ["", "x", "x ", "y"],
    "given": ["", "train", "val", "test"],
}


def same(left, right):
    return all(one.equals(other) and one.index.equals(other.index) for one, other in zip(left, right, strict=True))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(*(st.sampled_from(values) for values in CELLS.values())), max_size=30),
    st.sampled_from(["classify", "instruct", "prefer"]),
)
def test_the_size_of_the_batches_changes_nothing(some, task):
    table = rows(*some)
    if task != "classify":
        table = table.assign(text=table["text"].map(asked).astype("str"))
    table["rejected"] = table["label"].iloc[::-1].to_numpy()
    config = Curate(min_chars=1, max_chars=5, min_label_rows=2) if task == "classify" else WRITING
    whole = curate(table, config, FORGOTTEN, task)
    for size in (1, 7, 1000):
        assert same(curate(table, config, FORGOTTEN, task, size), whole)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_size_of_the_batches_changes_no_byte_of_the_files(in_folder, monkeypatch, size):
    row_table.write(rows(*((str(n % 40), f"text {n % 30}", "ab"[n % 2]) for n in range(50))), Path("raw/000.parquet"))
    row_table.write(rows(*((str(n), f"words {n}", "a", "test") for n in range(9))), Path("raw/001.parquet"))
    main(*PATHS)
    files = [PATHS[3], *sorted(PATHS[2].iterdir())]
    before = [file.read_bytes() for file in files]
    monkeypatch.setattr(stage.from_folder, "__defaults__", (size,))
    main(*PATHS)
    assert [file.read_bytes() for file in files] == before
    monkeypatch.setattr(row_table, "GROUP", 16)
    main(*PATHS)
    assert pq.read_metadata(PATHS[2] / "rows.parquet").num_row_groups > 1
    assert row_table.read(PATHS[2] / "rows.parquet").equals(pq.read_table(io.BytesIO(before[-1])).to_pandas())


def test_no_row_leaves_without_being_counted():
    tally = Tally(task_data.of("classify"))
    tally.receive(pa.RecordBatch.from_pydict({"source": ["desk"]}))
    with pytest.raises(AssertionError, match="1 rows received, but 0 kept and 0 rejected"):
        tally.report()


GOLDEN = {
    "classify": ("tickets.csv", ingest.Columns("body", "queue", "ticket_id", "customer_id")),
    "instruct": ("replies.csv", ingest.Columns("prompt", "completion", "request_id", "customer_id")),
    "prefer": ("preferences.csv", ingest.Columns("prompt", "chosen", "pair_id", "customer_id", None, "rejected")),
}
BYTES = {  # begin of the sha256 of rows, rejects and report: what the stage gave when it held all rows in memory
    "classify": ["cfb0ce0ea4c0178d", "33a3381afc807b40", "6da789445e2a1c00"],
    "instruct": ["17a71f922700056c", "8d33984dbdb711ae", "93060b1e295bce56"],
    "prefer": ["2e3104c2f926bed3", "5bce07fdcf47850f", "229f4f64ec7f27ae"],
}


@pytest.mark.parametrize("task", GOLDEN)
def test_the_samples_give_the_bytes_that_they_always_gave(in_folder, task):
    file, columns = GOLDEN[task]
    root = Path(__file__).parents[2]
    if task != "classify":
        Path("params.yaml").write_bytes((root / f"retune/config/defaults/{task}.yaml").read_bytes())
    ingest.ingest(str(root / "tests/samples" / file), PATHS[0], columns, task=task)
    main(*PATHS)
    made = [PATHS[2] / "rows.parquet", PATHS[2] / "rejects.parquet", PATHS[3]]
    assert [files.file_sha256(path)[:16] for path in made] == BYTES[task]


def test_curating_twice_rejects_nothing_more():
    table = rows(("1", " a\tb ", "x"), ("2", "A B", "x"), ("3", "c", "y"), ("4", "c", "z"), ("5", "d", "x", "test"))
    kept, _ = curate(table, LENIENT)
    again, rejects = curate(kept, LENIENT)
    assert rejects.empty
    pd.testing.assert_frame_equal(again, kept.reset_index(drop=True))


def test_the_report_counts_every_row():
    table = rows(("1", "one", "a"), ("2", "one", "a"), ("3", "two", "b", "test"))
    told = report(table)
    assert (told["received"], told["kept"], told["rejected"]) == (3, 2, 1)
    assert told["reasons"] == {name: int(name == "exact_copy") for name in task_data.of("classify").curation}
    assert told["labels"] == {"a": 1, "b": 1}
    assert told["sources"] == {"desk": {"received": 3, "kept": 2}}
    assert told["given"] == {"train": 0, "val": 0, "test": 1, "none": 1}


PATHS = tuple(map(Path, ("raw", "suppressed.json", "curated", "curate.json")))


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    shipped = Path(__file__).parents[2] / "params.yaml"
    (tmp_path / "params.yaml").write_text(shipped.read_text("utf-8"), "utf-8")
    suppression.write(suppression.NOTHING, tmp_path / "suppressed.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_stage_reads_the_parts_in_order_and_writes_its_files(in_folder):
    row_table.write(rows(*((str(n), f"text {n}", "a") for n in range(10))), Path("raw/000.parquet"))
    row_table.write(rows(("1", "changed", "a")), Path("raw/001.parquet"))
    main(*PATHS)
    kept, rejects = (row_table.read(Path("curated") / name) for name in ("rows.parquet", "rejects.parquet"))
    assert kept.set_index("id").loc["1", "text"] == "changed"
    assert list(rejects.columns) == [*COLUMNS, "reason", "detail"]
    assert json.loads(Path("curate.json").read_text())["reasons"]["superseded"] == 1
    first = Path("curated/rows.parquet").read_bytes()
    main(*PATHS)
    assert Path("curated/rows.parquet").read_bytes() == first


def test_no_rows_give_empty_files(in_folder):
    Path("raw").mkdir()
    main(*PATHS)
    assert list(row_table.read(Path("curated/rows.parquet")).columns) == list(COLUMNS)
    assert list(row_table.read(Path("curated/rejects.parquet")).columns) == [*COLUMNS, "reason", "detail"]
    assert json.loads(Path("curate.json").read_text())["received"] == 0


def test_the_stage_leaves_out_the_rows_of_the_list_and_does_nothing_without_it(in_folder):
    row_table.write(rows(*((str(n), f"text {n}", "a") for n in range(12))), Path("raw/000.parquet"))
    suppression.write(FORGOTTEN, Path("suppressed.json"))
    main(*PATHS)
    assert "1" not in set(row_table.read(Path("curated/rows.parquet"))["id"])
    assert row_table.read(Path("curated/rejects.parquet"))[["id", "text"]].to_numpy().tolist() == [["1", ""]]
    before = Path("curated/rows.parquet").read_bytes()
    Path("suppressed.json").write_text('{"salt": "', "utf-8")
    with pytest.raises(Refused, match=r"suppressed\.json is no list"):
        main(*PATHS)
    assert Path("curated/rows.parquet").read_bytes() == before


def test_rows_without_a_column_are_a_wrong_use():
    with pytest.raises(WrongUse, match="lack label"):
        curate(rows(("1", "one", "a")).drop(columns="label"), LENIENT)


@pytest.mark.skipif(not BANKING77.exists(), reason="needs the Banking77 files")
def test_banking77_keeps_its_test_side_whole():
    sides = {name: pd.read_csv(BANKING77 / f"{name}.csv", dtype="str") for name in ("train", "test")}
    table = rows(
        *(
            (f"{name}-{n}", text, label, name)
            for name, side in sides.items()
            for n, (text, label) in enumerate(zip(side["text"], side["category"], strict=True))
        )
    )
    kept, rejects = curate(table, Curate(min_chars=2, max_chars=20000, min_label_rows=10))
    assert list(kept.loc[kept["given"] == "test", "text"]) == list(sides["test"]["text"])
    assert rejects["reason"].value_counts().to_dict() == {"copy_of_test": 25, "exact_copy": 30, "conflicting_labels": 2}


# ---- where a model is to write ---------------------------------------------------------------------------

WRITING = GenerationCurate(min_chars=2, max_chars=200)


def asked(*contents):
    return messages.dump([{"role": "user", "content": content} for content in contents])


def said(*some):
    """Rows of (id, prompt, answer), or (id, prompt, answer, given)."""
    return rows(*((id_, asked(prompt), *rest) for id_, prompt, *rest in some))


def pairs(*some):
    """Rows of (id, prompt, chosen, rejected), or (id, prompt, chosen, rejected, given)."""
    table = said(*((id_, prompt, chosen, *given) for id_, prompt, chosen, _, *given in some))
    return table.assign(rejected=pd.Series([row[3] for row in some], dtype="str"))


def fates(table, task, params=WRITING):
    kept, rejects = curate(table, params, task=task)
    return list(kept["id"]), [tuple(reject) for reject in rejects[["id", "reason", "detail"]].to_numpy()]


def test_an_answer_keeps_its_lines_and_a_prompt_stays_messages():
    table = rows(("1", asked(" a\u200b  b \r\n  c ", "why? \n"), "Do:\r\n\r\n    if x:\t\n        y\n\n"))
    kept, _ = curate(table, WRITING, task="instruct")
    (row,) = kept.to_dict("records")
    assert messages.parse(row["text"]) == [
        {"role": "user", "content": "a  b\n  c"},
        {"role": "user", "content": "why?"},
    ]
    assert row["label"] == "Do:\n\n    if x:\n        y"
    again, rejects = curate(kept, WRITING, task="instruct")
    assert rejects.empty
    pd.testing.assert_frame_equal(again, kept)


def test_one_prompt_may_have_many_answers_and_a_rare_answer_is_no_typing_error():
    table = said(("1", "Where is it?", "a"), ("2", "where is it", "b"), ("3", "Where is it?", "a"))
    assert fates(table, "instruct") == (["1", "2"], [("3", "exact_copy", "1")])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("1", " \u200b\n", "a"), "empty"),
        (("1", "words", " \n"), "no_label"),
        (("1", "x", "a"), "too_short"),
        (("1", "word " * 41, "a"), "too_long"),
    ],
)
def test_an_unusable_prompt_or_answer_is_rejected(row, reason):
    assert [reject[1] for reject in fates(said(row), "instruct")[1]] == [reason]


def test_no_prompt_of_the_test_side_is_learned_from():
    table = said(("1", "Where?", "a"), ("2", "where", "b"), ("3", "Where? ", "a", "test"))
    assert fates(table, "instruct") == (["3"], [("1", "copy_of_test", "3"), ("2", "prompt_of_test", "3")])


def test_pairs_that_say_nothing_or_both_are_rejected():
    table = pairs(
        ("1", "Where?", "same", " same\n"),
        ("2", "Where?", "good", ""),
        ("3", "How?", "a", "b"),
        ("4", "how", "b", "a"),
        ("5", "How?", "a", "c"),
        ("6", "How?", "a", "c"),
        ("7", "Why?", "b", "a"),
    )
    assert fates(table, "prefer") == (
        ["5", "7"],
        [
            ("1", "no_preference", ""),
            ("2", "no_rejected", ""),
            ("3", "contradicts_itself", "4"),
            ("4", "contradicts_itself", "3"),
            ("6", "exact_copy", "5"),
        ],
    )


def test_the_worse_answer_is_kept_and_of_a_forgotten_row_nothing():
    table = pairs(("1", "Where?", "my secret", "my other secret"), ("2", "Why?", "so\n\nthen", "no \n"))
    kept, rejects = curate(table, WRITING, FORGOTTEN, "prefer")
    assert tuple(kept.columns) == task_data.of("prefer").columns
    assert kept[["label", "rejected"]].to_numpy().tolist() == [["so\n\nthen", "no"]]
    assert rejects[["text", "label", "rejected"]].to_numpy().tolist() == [["", "", ""]]


def test_the_report_names_no_answer():
    table = said(("1", "Where?", "a"), ("2", "Why?", "b"))
    told = report(table, WRITING, task="instruct")
    assert (told["kept"], told["labels"]) == (2, {})
    assert list(told["reasons"]) == [*task_data.of("instruct").curation]


# ---- general examples ------------------------------------------------------------------------------------


def test_general_examples_are_cleaned_as_rows_are_and_counted_by_reason():
    examples = said(
        ("g:1", " What is two and two? ", " four "), ("g:2", "Who wrote it?", "\u200b"), ("g:3", "x", "y"),
        ("g:4", "word " * 41, "long"), ("g:5", "what is two and two", "four"), ("g:6", "what is two and two", "4"),
    )  # fmt: skip
    kept, left_out = curate_general(examples, said(("1", "Where is it?", "here")), WRITING)
    assert kept[["id", "label"]].to_numpy().tolist() == [["g:1", "four"], ["g:6", "4"]]
    assert {reason: count for reason, count in left_out.items() if count} == {
        "no_label": 1, "too_short": 1, "too_long": 1, "exact_copy": 1,
    }  # fmt: skip


@pytest.mark.parametrize("given", ["test", "val", "train", ""])
def test_a_general_example_that_asks_what_a_record_asks_is_left_out_on_whatever_side_that_stands(given):
    records = said(("1", "Where is my parcel?", "here", given), ("2", "more words", "there"))
    examples = said(("g:1", "where is my PARCEL", "no idea"), ("g:2", "Who wrote it?", "she"))
    kept, left_out = curate_general(examples, records, WRITING)
    assert (list(kept["id"]), left_out["asked_by_a_record"]) == (["g:2"], 1)


def test_what_had_to_be_forgotten_does_not_come_back_as_a_general_example(in_writing):
    row_table.write(said(("1", "Where is my parcel?", "here"), ("2", "more words", "there")), Path("raw/000.parquet"))
    suppression.write(FORGOTTEN, Path("suppressed.json"))
    in_writing([{"prompt": "where is my parcel", "completion": "here"}, {"prompt": "who?", "completion": "she"}])
    main(*PATHS)
    assert "1" not in set(row_table.read(Path("curated/rows.parquet"))["id"])
    assert list(row_table.read(Path("curated/general.parquet"))["id"]) == ["own.jsonl:2"]


@pytest.fixture
def in_writing(in_folder):
    """The stage's folder with the params of task instruct; takes general examples to name in them."""

    def name(records, **changes):
        file = in_folder / "own.jsonl"
        file.write_text("".join(f"{json.dumps(record)}\n" for record in records), "utf-8")
        values = yaml.safe_load((Path(__file__).parents[2] / "retune/config/defaults/instruct.yaml").read_text("utf-8"))
        told = {"path": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()} | changes
        values["curate"]["replay"] = [told]
        Path("params.yaml").write_text(yaml.safe_dump(values), "utf-8")

    return name


def test_the_stage_keeps_general_examples_apart_and_tells_of_which_file(in_writing):
    row_table.write(said(*((str(n), f"question {n}", "a") for n in range(4))), Path("raw/000.parquet"))
    in_writing([{"instruction": "Add.", "input": "2 and 2", "output": "4"}, {"instruction": "Say.", "output": ""}])
    main(*PATHS)
    told = json.loads(Path("curate.json").read_text())
    assert (told["received"], told["kept"], sum(told["reasons"].values())) == (4, 4, 0)
    assert list(told["sources"]) == ["desk"]
    (file,) = told["general"]["files"].items()
    digest = hashlib.sha256(Path("own.jsonl").read_bytes()).hexdigest()
    path = str(Path("own.jsonl").absolute())
    assert file == ("own.jsonl", {"path": path, "sha256": digest, "received": 2, "kept": 1})
    assert told["general"]["reasons"]["no_label"] == 1
    (row,) = row_table.read(Path("curated/general.parquet")).to_dict("records")
    assert (row["id"], row["text"], row["label"]) == ("own.jsonl:1", asked("Add.\n\n2 and 2"), "4")
    assert len(row_table.read(Path("curated/rows.parquet"))) == 4


def test_without_files_nothing_is_said_of_general_examples_and_their_file_is_empty(in_folder):
    row_table.write(rows(*((str(n), f"text {n}", "a") for n in range(10))), Path("raw/000.parquet"))
    main(*PATHS)
    assert "general" not in json.loads(Path("curate.json").read_text())
    assert row_table.read(Path("curated/general.parquet")).empty


@pytest.mark.parametrize(("changes", "error", "told"), [
    ({"sha256": "0" * 64}, Refused, "have sha256 .*, not 0{64}: restore that file, or write the new hash into"),
    ({"path": "/nowhere/own.jsonl"}, WrongUse, "/nowhere/own.jsonl cannot be read: No such file"),
    ({"path": "own.jsonl"}, WrongUse, r"replay.0.path: not an absolute path: 'own.jsonl'"),
    ({"sha256": "short"}, WrongUse, r"curate.replay.0.sha256 is 'short'"),
])  # fmt: skip
def test_a_file_that_is_not_there_or_another_than_was_meant_is_refused(in_writing, changes, error, told):
    row_table.write(said(("1", "one question", "a")), Path("raw/000.parquet"))
    in_writing([{"prompt": "who?", "completion": "she"}], **changes)
    with pytest.raises(error, match=told):
        main(*PATHS)
    assert not Path("curated").exists()


@pytest.mark.parametrize(("records", "told"), [
    ([{"question": "who?", "answer": "she"}], "no format of task instruct"),
    ([{"messages": [{"role": "user", "content": "who?"}]}], "own.jsonl, line 1: .*end with its answer"),
    ([], "holds no rows"),
])  # fmt: skip
def test_a_file_that_holds_no_examples_is_refused_with_its_place(in_writing, records, told):
    row_table.write(said(("1", "one question", "a")), Path("raw/000.parquet"))
    in_writing(records)
    with pytest.raises((Refused, WrongUse), match=told):
        main(*PATHS)


def test_rows_of_another_task_are_a_wrong_use():
    with pytest.raises(WrongUse, match="row 1 of the raw rows holds no messages"):
        curate(rows(("1", "card lost", "a")), WRITING, task="instruct")
    with pytest.raises(WrongUse, match="lack rejected"):
        curate(said(("1", "Where?", "a")), WRITING, task="prefer")
