"""A clone is turned to another task, and nothing that only it holds is lost."""

import hashlib
import re
import shutil

import pytest


def ingested(clone, text="words"):
    (clone.folder / "own.csv").write_text(f"{text},label\nwhere is my parcel,parcels\nmy bill,bills\n", "utf-8")
    done = clone.call("ingest", "own.csv", "--text", text)
    assert done.returncode == 0, done.stderr


def commit(clone, *more):
    clone.git("add", "-A")
    clone.git("commit", "-qm", "more", *more)


def refused(done, code, message):
    assert done.returncode == code, done.stdout + done.stderr
    assert re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr


def everything(folder):
    return {file: hashlib.md5(file.read_bytes()).hexdigest() for file in folder.rglob("*.parquet")}


@pytest.mark.parametrize(("words", "code", "message"), [
    (["translate"], 2, "'translate': write one of instruct, prefer"),
    (["prefer"], 2, "name it with `retune task prefer --from NAME@ALIAS`"),
    (["instruct", "--from", "writer"], 2, "write NAME@ALIAS or NAME/VERSION"),
    (["instruct", "--from", "writer/1"], 1, "no model 'writer' is registered"),
    (["prefer", "--from", "writer"], 2, "write NAME@ALIAS or NAME/VERSION"),
    (["prefer", "--from", "writer/1"], 1, "no model 'writer' is registered"),
])  # fmt: skip
def test_a_task_that_cannot_be_taken_up_is_refused_and_nothing_changes(clone, words, code, message):
    refused(clone.call("task", *words), code, message)
    assert clone.git("status", "--porcelain") == ""


@pytest.mark.slow
def test_records_leave_once_git_holds_them_and_come_back_as_they_were(own_clone):
    ingested(own_clone)
    before = everything(own_clone.folder / "data/raw")
    refused(own_clone.call("task", "instruct"), 2, r"git add data/raw.dvc && git commit")
    assert everything(own_clone.folder / "data/raw") == before
    commit(own_clone)
    done = own_clone.call("task", "instruct")
    assert done.returncode == 0, done.stderr
    assert not (own_clone.folder / "data/raw").exists() and not (own_clone.folder / "data/raw.dvc").exists()
    assert "there are no records yet" in own_clone.retune("run").stderr
    ingested(own_clone, "prompt")

    back = re.search(r"`git checkout (\S+) -- data/raw.dvc", done.stdout)[1]
    own_clone.git("checkout", back, "--", "data/raw.dvc")
    assert own_clone.dvc("checkout", "--force", "data/raw.dvc").returncode == 0
    assert everything(own_clone.folder / "data/raw") == before


def test_with_the_task_that_it_has_its_records_stay(own_clone):
    assert own_clone.call("task", "instruct").returncode == 0
    commit(own_clone)
    ingested(own_clone, "prompt")
    before = everything(own_clone.folder / "data/raw")
    assert own_clone.call("task", "instruct").returncode == 0
    assert everything(own_clone.folder / "data/raw") == before


def test_what_has_come_in_for_one_task_waits_while_another_is_at_work(own_clone):
    came_in = "refs/heads/retune/intake"
    own_clone.git("update-ref", came_in, "HEAD")
    first = own_clone.git("rev-parse", "HEAD")
    commit(own_clone, "--allow-empty")
    assert own_clone.call("task", "instruct").returncode == 0
    branches = "for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads/retune"
    assert own_clone.git(*branches) == f"retune/intake-classify {first}"
    commit(own_clone)
    second = own_clone.git("rev-parse", "HEAD")
    own_clone.git("update-ref", came_in, "HEAD")
    switched = "from retune.data import intake_branch; intake_branch.switch('instruct', 'classify')"
    assert own_clone.python("-c", switched).returncode == 0
    assert own_clone.git(*branches) == f"retune/intake {first}retune/intake-instruct {second}"


def test_records_that_only_this_folder_holds_stay(own_clone):
    ingested(own_clone)
    commit(own_clone)
    (part,) = (own_clone.folder / "data/raw").glob("*.parquet")
    shutil.copy(part, part.with_name("00002-more.parquet"))
    refused(own_clone.call("task", "instruct"), 2, "changes that DVC does not know: data/raw/00002-more.parquet")
    part.with_name("00002-more.parquet").unlink()
    (own_clone.folder / "data/raw.dvc").rename(own_clone.folder / "aside")
    refused(own_clone.call("task", "instruct"), 2, "records that DVC does not know|data/raw.dvc has uncommitted edits")
    (own_clone.folder / "aside").rename(own_clone.folder / "data/raw.dvc")
    shutil.rmtree(own_clone.folder / ".dvc/cache", ignore_errors=True)
    shutil.rmtree(own_clone.folder / ".retune/cache", ignore_errors=True)
    refused(own_clone.call("task", "instruct"), 1, "the DVC store does not have all records")
    assert part.exists() and own_clone.git("status", "--porcelain") == ""


def test_edits_of_params_and_start_are_kept(own_clone):
    for name in ("params.yaml", "models/start.json"):
        path = own_clone.folder / name
        text = path.read_text("utf-8")
        path.write_text(text + "\n", "utf-8")
        refused(own_clone.call("task", "instruct"), 2, f"{name} has uncommitted edits")
        assert path.read_text("utf-8") == text + "\n"
        path.write_text(text, "utf-8")
