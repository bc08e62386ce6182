"""The branch of what has come in, in a real repository."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from retune.data import intake_branch
from retune.data.intake_branch import Aside
from retune.errors import Broken
from tests.support.git_repo import git


def bring(folder, md5, before=None, cursors=None, aside=None):
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data/raw.dvc").write_text(f"outs:\n- md5: {md5}\n  path: raw\n")
    return intake_branch.move(before or intake_branch.read(), folder, cursors or {}, aside or {}, "Bring in")


def test_before_anything_came_in_the_intake_is_empty(git_repository):
    assert intake_branch.read() == intake_branch.Intake()


def test_rows_and_cursors_are_entered_together_and_the_users_branch_and_index_stay(git_repository):
    head, status = git("rev-parse", "HEAD"), git("status", "--porcelain")
    aside = {"00002-x.parquet": Aside("poisoned", "2026-11-25", 12)}
    after = bring(git_repository, "ab.dir", cursors={"crm": {"since": "ü"}}, aside=aside)
    assert (after.raw, [*after.pointers]) == ("ab.dir", [intake_branch.RAW])
    assert (after.cursors, after.aside) == ({"crm": {"since": "ü"}}, aside)
    assert intake_branch.read() == after
    (git_repository / "data/raw.dvc").unlink()
    assert (git("rev-parse", "HEAD"), git("status", "--porcelain")) == (head, status)
    assert json.loads(git("show", "retune/intake:data/cursors.json")) == {"crm": {"since": "ü"}}


def test_each_entry_stands_on_the_one_before(git_repository):
    first = bring(git_repository, "aa.dir")
    second = bring(git_repository, "bb.dir")
    assert git("rev-parse", f"{second.commit}^") == first.commit


def test_who_looked_before_another_entered_is_told_to_look_again(git_repository):
    before = intake_branch.read()
    bring(git_repository, "aa.dir", before)
    with pytest.raises(intake_branch.Moved):
        bring(git_repository, "bb.dir", before)
    assert intake_branch.read().raw == "aa.dir"


def test_of_many_at_once_one_enters(git_repository):
    before = bring(git_repository, "aa.dir")
    folders = []
    for number in range(8):
        folder = git_repository / f"w{number}"
        folder.mkdir()
        folders.append(folder)

    def enter(number):
        try:
            return bring(folders[number], f"{number}.dir", before)
        except intake_branch.Moved:
            return None

    with ThreadPoolExecutor(8) as pool:
        done = [each for each in pool.map(enter, range(8)) if each]
    assert len(done) == 1
    assert git("rev-list", "--count", "retune/intake") == "2"


def test_a_branch_that_holds_something_else_is_refused_in_words(git_repository):
    (git_repository / "data").mkdir()
    (git_repository / "data/cursors.json").write_text("[1")
    git("add", "-A")
    git("commit", "-q", "-m", "x")
    git("update-ref", intake_branch.REF, "HEAD")
    with pytest.raises(Broken, match=r"retune/intake at .* cannot be read"):
        intake_branch.read()
