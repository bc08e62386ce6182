import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.config.classification import MissingLabel, Split
from retune.config.common import SplitShares
from retune.data import messages, row_table, task_data
from retune.data.row_table import COLUMNS, SPLITS
from retune.errors import Refused, WrongUse
from tasks import split as stage
from tasks.split import check_splits, main
from tests.support.environment import ROOT

NONE = pd.DataFrame({"id": [], "cluster": []}, dtype="str")  # no near-copies


def split(table, params, clusters=NONE, task="classify"):
    return stage.split(table, clusters, params, task)


report = partial(stage.report, task="classify")
SHARES = SplitShares(seed=17, val_share=0.2, test_share=0.3, max_group_share=1.0, large_groups=[])
PARAMS = Split(**vars(SHARES), missing_label=MissingLabel("refuse", "warn", "warn"))


def rows(*some):
    """Rows of (id, group, given), all with one label."""
    return pd.DataFrame(
        [(id_, f"text {id_}", "a", group, "desk", side) for id_, group, side in some], columns=list(COLUMNS)
    ).astype("str")


def lone(count, given_side=""):
    return rows(*((f"r{n:05d}", "", given_side) for n in range(count)))


PATHS = [Path(name) for name in ("rows.parquet", "clusters.parquet", "splits", "split.json")]


def side_of(table, params=PARAMS, clusters=NONE):
    return {row: name for name, side in split(table, params, clusters).items() for row in side["id"]}


def labelled(labels):
    table = lone(len(labels))
    return table.assign(label=pd.Series(labels, dtype="str"))


KNOWN = "train train test test train train train train"
IDS = st.lists(st.text("0123456789ab", min_size=1, max_size=4), unique=True, min_size=1, max_size=30)


@settings(deadline=None)
@given(IDS, st.randoms())
def test_a_ticket_keeps_its_side_when_others_arrive(ids, random):
    later = rows(*((row, "", "") for row in ids))
    today = later.sample(n=random.randint(1, len(ids)), random_state=random.randint(0, 9))
    before, after = side_of(today), side_of(later)
    assert before == {row: after[row] for row in before}


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ABCDE"), st.sampled_from(["", "train"])), min_size=1, max_size=30))
def test_no_group_stands_on_two_sides(some):
    table = rows(*((str(n), group, side) for n, (group, side) in enumerate(some)))
    where = pd.Series(side_of(table))
    assert (where.groupby(table.set_index("id")["group"]).nunique() == 1).all()


@settings(deadline=None)
@given(IDS, st.randoms())
def test_the_order_of_arrival_changes_nothing(ids, random):
    table = rows(*((row, "", "") for row in ids))
    shuffled = table.sample(frac=1, random_state=random.randint(0, 99))
    for name, side in split(table, PARAMS).items():
        pd.testing.assert_frame_equal(side, split(shuffled, PARAMS)[name])


def test_the_sides_have_about_their_shares():
    count = {name: len(side) for name, side in split(lone(20_000), PARAMS).items()}
    assert count["test"] == pytest.approx(6000, abs=200)
    assert count["val"] == pytest.approx(4000, abs=200)
    assert sum(count.values()) == 20_000


def test_known_rows_have_the_sides_that_they_had_when_this_was_written():
    assert " ".join(side_of(lone(8))[f"r{n:05d}"] for n in range(8)) == KNOWN


@pytest.mark.parametrize("given_side", ["val", "test"])
def test_a_given_side_is_kept(given_side):
    assert set(side_of(lone(50, given_side)).values()) == {given_side}


def test_given_train_is_parted_into_train_and_val_but_never_test():
    assert set(side_of(lone(200, "train")).values()) == {"train", "val"}


def test_a_row_that_is_given_to_train_later_leaves_test_only():
    free, train = side_of(lone(300)), side_of(lone(300, "train"))
    assert {(free[row], train[row]) for row in free} == {("test", "train"), ("train", "train"), ("val", "val")}


@pytest.mark.parametrize(("share", "side"), [("test_share", "test"), ("val_share", "val")])
def test_a_larger_share_moves_rows_from_train_to_that_side_only(share, side):
    before, after = side_of(lone(500)), side_of(lone(500), replace(PARAMS, **{share: 0.45}))
    assert {(before[row], after[row]) for row in before if before[row] != after[row]} == {("train", side)}


def test_another_seed_gives_other_sides():
    assert side_of(lone(100)) != side_of(lone(100), replace(PARAMS, seed=18))


def test_a_group_takes_the_side_that_one_of_its_rows_is_given():
    table = rows(("1", "acme", ""), ("2", "acme", "test"), ("3", "bolt", "val"), ("4", "bolt", ""))
    assert side_of(table) == {"1": "test", "2": "test", "3": "val", "4": "val"}


def test_a_customer_and_a_row_of_the_same_name_are_not_one_group():
    table = rows(("12", "", "train"), ("13", "12", "test"))
    assert side_of(table)["13"] == "test"
    assert side_of(table)["12"] != "test"


def test_a_group_on_two_given_sides_is_refused_by_name():
    table = rows(("1", "acme", "train"), ("2", "acme", "test"), ("3", "bolt", ""))
    counts = report(table, split(table, PARAMS))
    assert counts["parted_groups"] == {"acme": {"train": "1", "test": "2"}}
    assert counts["rows"]["test"] >= 2  # counted on the strictest side, so nothing of it can be learned
    with pytest.raises(Refused, match=r"acme \(test: row 2, train: row 1\)"):
        check_splits(counts, PARAMS)


def test_an_unknown_given_side_is_a_wrong_use():
    with pytest.raises(WrongUse, match="'dev'"):
        split(lone(3, "dev"), PARAMS)


def test_a_side_without_rows_is_refused_with_advice():
    table = lone(5, "train")
    with pytest.raises(Refused, match=r"no row falls on .*test of 5 rows: bring more rows"):
        check_splits(report(table, split(table, PARAMS)), PARAMS)


def test_a_label_missing_from_val_is_a_warning_where_params_say_so():
    warnings = told_without("b", "val")
    assert check_splits(warnings, PARAMS) == ["no row on val for 1 labels: b"]


def test_a_label_missing_from_train_is_refused_where_params_say_so():
    with pytest.raises(Refused, match=r"no row on train for 1 labels: b\. Bring more rows"):
        check_splits(told_without("b", "train"), PARAMS)


def told_without(label, side):
    """The report of many rows of which those on `side` have another label than `label`."""
    table = lone(100)
    where = side_of(table)
    labels = [label if where[row] != side and n % 2 else "a" for n, row in enumerate(table["id"])]
    table = table.assign(label=pd.Series(labels, dtype="str"))
    return report(table, split(table, PARAMS))


def test_the_report_counts_rows_labels_and_groups():
    table = rows(("1", "acme", "train"), ("2", "acme", ""), ("3", "", "val"), ("4", "bolt", "test"))
    counts = report(table, {"train": table[:2], "val": table[2:3], "test": table[3:]})
    assert counts["rows"] == {"train": 2, "val": 1, "test": 1}
    assert counts["labels"] == {"a": {"train": 2, "val": 1, "test": 1}}
    assert counts["missing"] == {"train": [], "val": [], "test": []}
    assert counts["groups"] == {"train": 1, "val": 0, "test": 1}


@pytest.fixture
def stage_folder(tmp_path, monkeypatch):
    shipped = ROOT / "params.yaml"
    (tmp_path / "params.yaml").write_text(shipped.read_text("utf-8"), "utf-8")
    row_table.write(NONE, tmp_path / "clusters.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_stage_writes_three_sides_and_a_report(stage_folder):
    row_table.write(lone(100), Path("rows.parquet"))
    main(*PATHS)
    sides = {name: row_table.read(Path(f"splits/{name}.parquet")) for name in SPLITS}
    assert sorted(pd.concat(sides)["id"]) == list(lone(100)["id"])
    assert json.loads(Path("split.json").read_text())["rows"] == {name: len(side) for name, side in sides.items()}


@pytest.mark.parametrize("count", [0, 1])
def test_a_refused_split_leaves_its_report_and_no_sides(stage_folder, count):
    row_table.write(lone(count), Path("rows.parquet"))
    with pytest.raises(Refused):
        main(*PATHS)
    assert sum(json.loads(Path("split.json").read_text())["rows"].values()) == count
    assert not Path("splits").exists()


def answers(prompts, each):
    """Rows of `each` answers to every prompt, which is written in two ways."""
    ways = ("Why", "why ")
    prompt_texts = [f"{ways[n % 2]} {prompt}?" for prompt in range(prompts) for n in range(each)]
    text = [messages.dump([{"role": "user", "content": content}]) for content in prompt_texts]
    table = lone(len(text))
    return table.assign(text=pd.Series(text, dtype="str"), label="answer " + table["id"])


def test_the_answers_to_one_prompt_are_not_parted():
    table = answers(40, 3)
    where = pd.Series({row: name for name, side in split(table, SHARES, task="instruct").items() for row in side["id"]})
    assert set(where) == set(SPLITS)
    assert (where.sort_index().groupby([n // 3 for n in range(len(where))]).nunique() == 1).all()


def conversation(*words):
    """A row of messages in turn, whose last one is the answer."""
    roles = ("user", "assistant")
    turns = [{"role": roles[n % 2], "content": content} for n, content in enumerate(words)]
    return {"text": messages.dump(turns[:-1]), "label": turns[-1]["content"]}


def conversations(*some):
    return lone(len(some)).assign(**pd.DataFrame([conversation(*each) for each in some]))


def exports(count):
    """A row for each turn of `count` conversations of three turns, the longest first."""
    words = ("Where is it {}?", "On its way.", "Since when?", "Monday, {}.", "Thanks!", "Good bye.")
    some = [[word.format(n) for word in words[:length]] for n in range(count) for length in (6, 4, 2)]
    return conversations(*some)


@pytest.mark.parametrize("task", ["instruct", "prefer"])
def test_a_conversation_and_what_begins_with_it_are_not_parted(task):
    table = exports(40).assign(rejected="no")
    sides = split(table, SHARES, task=task)
    where = pd.Series({row: name for name, side in sides.items() for row in side["id"]})
    assert set(where) == set(SPLITS)
    assert (where.sort_index().groupby([n // 3 for n in range(120)]).nunique() == 1).all()
    assert stage.continuations(table, stage.units(table, NONE, SHARES, task), sides) == {
        "rows": 80,
        "apart": [],
        "most": {"id": "r00002", "rows": 3},
    }


def test_conversations_that_begin_alike_have_their_own_sides():
    """Neither begins with all of the other: an answer or the question before it differs."""
    table = conversations(
        ("Hi", "Hello"), ("Hi", "Hey", "A?", "b"), ("Ho", "Hello", "A?", "b"), ("HI!", "hello.", "A?", "b")
    )
    units = stage.units(table, NONE, SHARES, "instruct")
    assert units.begun.tolist() == [False, False, False, True]
    assert units.joint[3] == units.solo[0]


def test_a_group_wins_and_takes_in_what_begins_with_a_conversation_of_it():
    table = conversations(("Hi", "Hello"), ("Hi", "Hello", "A?", "b"), ("Hi", "Hello", "C?", "d"))
    units = stage.units(table.assign(group=["c1", "c2", ""]), NONE, SHARES, "instruct")
    assert units.joint.tolist() == ["group:c1", "group:c2", "group:c1"]


def test_what_begins_with_a_row_of_the_data_s_own_side_goes_there_unless_it_has_one_too():
    table = conversations(("Hi", "Hello"), ("Hi", "Hello", "A?", "b"), ("Hi", "Hello", "C?", "d"))
    table = table.assign(given=["test", "train", ""])
    sides = split(table, SHARES, task="instruct")
    assert [list(sides[name]["id"]) for name in ("test", "train")] == [["r00000", "r00002"], ["r00001"]]
    counts = stage.continuations(table, stage.units(table, NONE, SHARES, "instruct"), sides)
    sentences = stage.check_continuations(counts, 3, SHARES)
    assert sentences[0].startswith("2 rows begin with all of another conversation")
    assert "warning: but 1 do not" in sentences[1] and "such as r00001:" in sentences[1]


def test_a_conversation_that_begins_too_many_rows_is_named():
    table = conversations(("Hi", "Hello"), *(("Hi", "Hello", f"A {n}?", "b") for n in range(9)))
    counts = stage.continuations(
        table, stage.units(table, NONE, SHARES, "instruct"), split(table, SHARES, task="instruct")
    )
    with pytest.raises(Refused, match=r"10 of 20 rows \(50%\) are or begin with the conversation of row r00000"):
        stage.check_continuations(counts, 20, replace(SHARES, max_group_share=0.2))


def test_where_a_model_writes_no_label_can_be_missing_and_none_is_told():
    table = answers(40, 1).assign(rejected="no")
    sides = split(table, SHARES, task="prefer")
    counts = report(table, sides, task="prefer")
    assert (counts["labels"], set(map(len, counts["missing"].values()))) == ({}, {0})
    assert check_splits(counts, SHARES) == []
    assert all(tuple(side) == task_data.of("prefer").columns for side in sides.values())


def test_a_group_that_is_too_large_or_a_word_for_nothing_is_refused_by_name():
    table = rows(*((f"n{n}", "NULL" if n < 2 else "big" if n < 9 else f"C-{n}", "") for n in range(20)))
    config = replace(PARAMS, max_group_share=0.2)
    groups = stage.large_groups(table, config)
    assert groups == {"big": 7, "NULL": 2}
    with pytest.raises(Refused, match=r"'big' holds 7 of 20 rows \(35%\); 'NULL' .* looks like a missing value"):
        stage.refuse_large_groups(groups, 20, config)
    assert stage.large_groups(table, replace(config, large_groups=["big", "NULL"])) == {}
    assert stage.large_groups(table.assign(given="test"), config) == {}
    stage.refuse_large_groups({}, 20, config)


def test_a_prompt_keeps_its_side_though_keys_keep_vowel_signs_now():
    places = stage._place_key(pd.Series(["\u092e\u0947\u0932, Card!", "???"], dtype="str"))
    assert places.tolist() == ["\u092e \u0932 card", "???"]
