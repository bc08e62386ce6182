"""Who has learned what, when versions continue from versions: a real history and a real store, no model."""

import hashlib
import subprocess
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
import yaml

from retune.data import row_table, suppression
from retune.lineage import ancestry, history
from retune.lineage.parent_version import ParentVersion
from retune.system import dvc_store
from tasks.trace import search

OLD, NEW = "where is my parcel", "my parcel is lost"
NOW = datetime(2026, 11, 25, tzinfo=UTC)


def rows(**texts):
    table = pd.DataFrame({"id": list(texts), "text": list(texts.values()), "label": "parcels"})
    return table.assign(group="", source="desk", given="").astype("str")


@dataclass
class Line:
    """Versions with sides of their own, as the history and the store have them."""

    commit: str
    facts: dict[int, dict[str, str]]

    def add(self, version, begins, **sides):
        md5s = {side: keep(rows(**texts)) for side, texts in sides.items()}
        self.facts[version] = {
            "Record": self.commit,
            "Fingerprint": f"{version}" * 64,
            "Seal": f"{version}" * 64,
            "Raw": f"{version}" * 32 + ".dir",
            **{side.capitalize(): md5 for side, md5 in md5s.items()},
            **({"Start": begins} if begins else {}),
        }
        at, facts = NOW + timedelta(days=version), self.facts[version]
        history.append("tickets", version, history.REGISTERED, ["a test"], facts, lambda _: None, at)

    def start(self, version, **changes):
        facts = self.facts[version]
        parent = ParentVersion(
            f"tickets/{version}", facts["Seal"], facts["Record"], facts["Fingerprint"],
            "0" * 32 + ".dir", facts["Train"], facts["Val"], True,
        )  # fmt: skip
        return replace(parent, **changes)


def keep(table):
    row_table.write(table, Path("side.parquet"))
    content = Path("side.parquet").read_bytes()
    path = dvc_store.cached(hashlib.md5(content).hexdigest())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path.parent.name + path.name


@pytest.fixture(scope="module")
def version_line(tmp_path_factory, make_dvc_repository):
    """1; 2 from 1, without `c`, with `a` corrected; 3 from 2, without `b`, tested on `c`; 4 from the base."""
    folder = tmp_path_factory.mktemp("line")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        dvc_store._repository.cache_clear()
        make_dvc_repository(folder)
        rejects = keep(rows(x="X", e="").assign(reason=["exact_copy", "empty"], detail=["c", ""]))
        reject_entry = {"path": "data/curated/rejects.parquet", "hash": "md5", "md5": rejects}
        lock = {"schema": "2.0", "stages": {"curate": {"outs": [reject_entry]}}}
        Path("dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False), "utf-8")
        Path("params.yaml").write_text("train:\n  refit: true\n", "utf-8")
        for command in (
            "git config user.name tester",
            "git config user.email tester@example.com",
            "git add dvc.lock params.yaml",
            "git commit -qm start",
        ):
            subprocess.run(command.split(), check=True)
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
        versions = Line(commit, {})
        versions.add(1, None, train={"a": OLD, "b": "b", "c": "c"}, val={"v": "v"}, test={"t": "t"})
        versions.add(2, "tickets/1", train={"a": NEW, "b": "b", "d": "d"}, val={"w": "w"}, test={"t": "t"})
        versions.add(3, "tickets/2", train={"a": NEW, "d": "d"}, val={"w": "w"}, test={"c": "c"})
        versions.add(4, "base", train={"a": NEW, "d": "d"}, val={"w": "w"}, test={"c": "c"})
        yield versions


def rows_seen(answer):
    return [(each.version, each.side, each.via) for each in answer.versions]


@pytest.mark.parametrize(
    ("version", "row", "count"),
    [(4, "a", 1), (4, "w", 1), (4, "c", 0), (3, "c", 1), (3, "b", 1), (3, "v", 1), (1, "t", 0)],
)
def test_a_suppressed_row_was_learned_from_on_either_side_and_by_what_it_continued_from(
    version_line, version, row, count
):
    entry = history.read("tickets").registered(version)
    listed = suppression.add(suppression.NOTHING, [row], "asked to", "A", NOW.isoformat())
    assert ancestry.count_suppressed_rows(entry, listed) == count
    assert ancestry.count_suppressed_rows(entry, suppression.NOTHING) == 0


def test_a_version_has_learned_what_the_versions_before_it_learned_and_says_from_which(version_line):
    row = search.row("c")
    assert rows_seen(row) == [
        (1, "train", None),
        (2, "train", "tickets/1"),
        (3, "test", None),
        (3, "train", "tickets/1"),
        (4, "test", None),
    ]
    assert (row.free, row.gone) == ([], [])
    row = search.row("b")
    assert rows_seen(row) == [(1, "train", None), (2, "train", None), (3, "train", "tickets/2")]
    assert row.free == ["tickets/4"], "a start from the base leaves all of that behind"


def test_a_corrected_row_was_learned_as_it_was_too(version_line):
    row = search.row("a")
    assert [(each.version, each.content["text"], each.via) for each in row.versions] == [
        (1, OLD, None),
        (2, NEW, None),
        (2, OLD, "tickets/1"),
        (3, NEW, None),
        (3, OLD, "tickets/1"),
        (4, NEW, None),
    ]


def test_val_is_inherited_and_a_test_row_is_not(version_line):
    assert rows_seen(search.row("v")) == [(1, "val", None), (2, "val", "tickets/1"), (3, "val", "tickets/1")]
    row = search.row("t")
    assert rows_seen(row) == [(1, "test", None), (2, "test", None)]
    assert row.free == ["tickets/3", "tickets/4"]


def test_a_val_row_says_whether_it_was_learned_from_in_the_end(version_line, monkeypatch):
    assert [each.refit for each in search.row("v").versions] == [True, True, True]
    assert [each.refit for each in search.row("t").versions] == [None, None]
    monkeypatch.setattr(search, "PARAMS", "params.of.nobody.yaml")
    search._refit.cache_clear()
    assert [each.refit for each in search.row("v").versions] == [None, None, None], "unknown without its parameters"
    search._refit.cache_clear()


def test_a_row_that_curate_rejected_says_why_and_which_row_stayed_in_its_place(version_line):
    everyone = [f"tickets/{number}" for number in (1, 2, 3, 4)]
    for name, reason, twin in (("x", "exact_copy", "c"), ("e", "empty", None)):
        row = search.row(name)
        assert (row.versions, row.free) == ([], everyone)
        (rejection,) = row.rejected
        assert (rejection.reason, rejection.twin, rejection.versions) == (reason, twin, everyone)
    assert search.row("nobody").rejected == []
    assert search.row("b").rejected == [], "free of it for another reason"


def test_data_is_traced_through_the_versions_that_were_continued_from(version_line):
    assert rows_seen(search.data(version_line.facts[1]["Train"])) == [
        (1, "train", None),
        (2, "train", "tickets/1"),
        (3, "train", "tickets/1"),
    ]
    raw = search.data("0" * 32)
    assert raw.versions == [] and len(raw.gone) == 4, "the listings of the raw folders are gone"
    assert rows_seen(search.data(version_line.facts[4]["Val"])) == [(number, "val", None) for number in (2, 3, 4)]
    assert rows_seen(search.data(version_line.facts[1]["Test"])) == [(1, "test", None), (2, "test", None)]


def test_of_whom_the_bytes_are_gone_and_of_whoever_continued_from_it_nobody_can_say(version_line):
    path = dvc_store.cached(version_line.facts[1]["Train"])
    content = path.read_bytes()
    path.unlink()
    try:
        row = search.row("b")
        assert row.gone == ["tickets/1", "tickets/2", "tickets/3"]
        assert row.free == ["tickets/4"]
        with pytest.raises(ancestry.Incompatible, match=r"tickets/3: what it learned from is unknown.*bytes gone"):
            ancestry.suppressed_rows_learned(version_line.start(3), listing("b"))
    finally:
        path.write_bytes(content)


def test_a_version_that_continued_from_an_unknown_one_is_free_of_nothing(version_line):
    number = len(version_line.facts) + 1
    version_line.add(number, "others/9", train={"d": "d"}, val={"w": "w"}, test={"t": "t"})
    try:
        row = search.row("b")
        assert f"tickets/{number}" in row.gone and f"tickets/{number}" not in row.free
        assert f"tickets/{number}" in search.data(version_line.facts[1]["Train"]).gone
        with pytest.raises(ancestry.Incompatible, match="continued from others/9, which the history does not know"):
            ancestry.suppressed_rows_learned(version_line.start(number), listing("b"))
    finally:
        subprocess.run(["git", "tag", "-d", f"tickets@v{number}.0.0#{number}"], check=True, capture_output=True)
        del version_line.facts[number]


def listing(*ids):
    return suppression.add(suppression.NOTHING, ids, "asked", "me", "2026-11-25")


def test_a_start_is_tainted_by_what_any_version_before_it_learned_from(version_line):
    assert ancestry.suppressed_rows_learned(version_line.start(3), listing("b")) == {"tickets/2": 1, "tickets/1": 1}
    assert ancestry.suppressed_rows_learned(version_line.start(3), listing("c", "v")) == {"tickets/1": 2}
    assert ancestry.suppressed_rows_learned(version_line.start(4), listing("b", "c", "v")) == {}
    assert ancestry.suppressed_rows_learned(version_line.start(3), listing("t")) == {}, (
        "it was tested on that, not trained"
    )
    assert ancestry.suppressed_rows_learned(version_line.start(3), suppression.NOTHING) == {}
    with pytest.raises(
        ancestry.Incompatible, match=r"tickets/2 \(1\), tickets/1 \(1\) learned from rows that must not be"
    ):
        ancestry.check(version_line.start(3), listing("b"), rows(t="t"))


def test_a_start_leaks_if_it_learned_from_what_is_a_test_row_now_by_id_or_by_words(version_line):
    assert ancestry.test_rows_learned(version_line.start(3), rows(c="changed since", t="t")) == {"tickets/1": 1}
    assert ancestry.test_rows_learned(version_line.start(3), rows(x=f"{OLD.upper()}!")) == {"tickets/1": 1}
    assert ancestry.test_rows_learned(version_line.start(4), rows(c="c")) == {}
    with pytest.raises(ancestry.Incompatible, match="learned from rows that are test rows now"):
        ancestry.check(version_line.start(3), suppression.NOTHING, rows(c="c"))
    ancestry.check(version_line.start(4), listing("b"), rows(c="c", t="t"))


def test_pairs_leak_by_their_words_alone_since_their_ids_name_rows_of_another_table(version_line):
    assert ancestry.test_rows_learned(version_line.start(3), rows(c="changed since").assign(rejected="no")) == {}
    leaks = rows(x=f"{OLD.upper()}!").assign(rejected="no")
    assert ancestry.test_rows_learned(version_line.start(3), leaks) == {"tickets/1": 1}
    with pytest.raises(ancestry.Incompatible, match=r"start from another version$"):
        ancestry.check(version_line.start(3), suppression.NOTHING, leaks)


def test_a_start_leaks_by_the_words_of_its_general_examples_which_are_no_rows(version_line, version_with_general_rows):
    assert ancestry.test_rows_learned(version_line.start(5), rows(x="WHO wrote it?")) == {"tickets/5": 1}
    assert ancestry.test_rows_learned(version_line.start(6), rows(x="who wrote it")) == {"tickets/5": 1}, (
        "and whoever went on from it"
    )
    assert ancestry.test_rows_learned(version_line.start(4), rows(x="who wrote it")) == {}
    assert ancestry.test_rows_learned(version_line.start(5), rows(**{"g:1": "another"})) == {}, (
        "its name is none of a row"
    )
    assert ancestry.suppressed_rows_learned(version_line.start(5), listing("g:1")) == {}
    assert rows_seen(search.row("g:1")) == []


def test_versions_that_learned_from_general_examples_are_found_by_their_bytes(version_line, version_with_general_rows):
    assert rows_seen(search.data(version_with_general_rows)) == [(5, "general", None), (6, "general", "tickets/5")]


@pytest.fixture(scope="module")
def version_with_general_rows(version_line):
    """5 learned from a general example, 6 went on from 5. The hash of the examples."""
    sides = {"train": {"a": "a"}, "val": {"w": "w"}, "test": {"z": "z"}}
    version_line.add(5, "base", **sides, general={"g:1": "who wrote it?"})
    version_line.add(6, "tickets/5", **sides)
    return version_line.facts[5]["General"]


@pytest.mark.parametrize("fact", ["seal", "record_commit", "fingerprint", "train_md5", "val_md5"])
def test_a_start_that_says_something_else_than_the_history_is_refused(version_line, fact):
    with pytest.raises(ancestry.Incompatible, match="the history has another"):
        ancestry.learned_splits(version_line.start(3, **{fact: "e" * 64}))


def test_a_start_that_no_history_knows_is_refused(version_line):
    with pytest.raises(ancestry.Incompatible, match="the history does not know it"):
        ancestry.learned_splits(version_line.start(3, name="tickets/9"))
