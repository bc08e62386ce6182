"""Two people ingest on two branches, and git merges: by `retune ingest --merge`, and by the driver."""

import subprocess
import sys
from pathlib import Path

import pytest

from flows.execution import dvc, raw_data, raw_merge
from retune.data import raw_merge as raw_merge_of_lists
from retune.data import source_facts
from retune.errors import Refused, WrongUse
from retune.system import dvc_files, dvc_store
from retune.system.dvc_files import POINTER, RAW
from tests.support.environment import ROOT


@pytest.fixture
def two_sides(tiny_pipeline):
    """Pointer of the base, of ours and of theirs, all in the cache; the folder holds ours."""
    base = POINTER.read_bytes()
    potato = dvc_store.listing(dvc_files.pointer_md5())
    pointers = [pointer_to({**potato, **added(side)}) for side in ("ours", "theirs")]
    (RAW / "ours.txt").write_text("ours", "utf-8")
    source_facts.write({"ours": {"licence": "MIT"}}, RAW)
    return base, *pointers


def added(side):
    facts = f'{{\n  "{side}": {{\n    "licence": "MIT"\n  }}\n}}\n'
    return {f"{side}.txt": dvc_store.keep(side.encode()), source_facts.FILE: dvc_store.keep(facts.encode())}


def pointer_to(listing):
    md5, size = dvc_store.keep(raw_merge_of_lists.encode(listing), ".dir"), sum(map(dvc_store.size, listing.values()))
    return f"outs:\n- md5: {md5}\n  size: {size}\n  nfiles: {len(listing)}\n  hash: md5\n  path: raw\n".encode()


def test_the_joined_pointer_is_what_dvc_writes_of_all_parts(tiny_pipeline, two_sides):
    joined = raw_merge.join(*two_sides)
    POINTER.write_bytes(joined.pointer)
    dvc.checkout_cached(str(POINTER))
    assert sorted(path.name for path in RAW.iterdir()) == ["one.txt", "ours.txt", "sources.json", "theirs.txt"]
    assert source_facts.read(RAW) == {"ours": {"licence": "MIT"}, "theirs": {"licence": "MIT"}}
    dvc.track(str(RAW))
    assert POINTER.read_bytes() == joined.pointer
    assert (joined.our_parts, joined.parts) == (2, 3)


def test_a_conflict_is_joined_with_its_bytes_and_told_to_git(tiny_pipeline, two_sides):
    base, our_side, their_side = two_sides
    into_conflict(tiny_pipeline, base, our_side, their_side)
    with pytest.raises(Refused, match=r"data/raw\.dvc is in a merge conflict"):
        raw_data.require_merged()
    raw_merge.merge()
    raw_data.require_merged()
    raw_data.require_followed()
    assert {path.name for path in RAW.iterdir()} >= {"ours.txt", "theirs.txt"}
    with pytest.raises(WrongUse, match="no merge conflict"):
        raw_merge.merge()


def into_conflict(tiny_pipeline, base, our_side, their_side):
    POINTER.write_bytes(base)
    tiny_pipeline.git("add", "-A")
    tiny_pipeline.git("commit", "-q", "-m", "base")
    tiny_pipeline.git("checkout", "-q", "-b", "colleague")
    POINTER.write_bytes(their_side)
    tiny_pipeline.git("commit", "-q", "-am", "theirs")
    tiny_pipeline.git("checkout", "-q", "main")
    POINTER.write_bytes(our_side)
    tiny_pipeline.git("commit", "-q", "-am", "ours")
    return subprocess.run(["git", "merge", "--no-edit", "colleague"], capture_output=True, text=True)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_markers_that_were_committed_are_joined_too(tiny_pipeline, two_sides, line_end):
    _, our_side, their_side = two_sides
    lines = [side.splitlines()[1] for side in (our_side, their_side)]
    rest = our_side.splitlines()[2:]
    marked = [b"outs:", b"<<<<<<< HEAD", lines[0], b"=======", lines[1], b">>>>>>> colleague", *rest, b""]
    POINTER.write_bytes(line_end.join(marked))
    assert raw_merge.merge().parts == 3
    assert {path.name for path in RAW.iterdir()} >= {"ours.txt", "theirs.txt"}


def test_bytes_that_are_nowhere_leave_the_conflict_as_it_is(tiny_pipeline, two_sides):
    base, our_side, their_side = two_sides
    md5 = dvc_store.listing(dvc_files.entry_of(dvc_files.parse(their_side, POINTER), POINTER)["md5"])["theirs.txt"]
    into_conflict(tiny_pipeline, base, our_side, their_side)
    before = POINTER.read_bytes()
    dvc_store.cached(md5).unlink()
    with pytest.raises(Refused, match="neither in the DVC cache"):
        raw_merge.merge()
    assert POINTER.read_bytes() == before


def test_git_joins_by_the_driver_and_without_it_there_is_an_ordinary_conflict(tiny_pipeline, two_sides):
    tiny_pipeline.write(".gitattributes", "/data/raw.dvc merge=retune-raw\n")
    python = tiny_pipeline.folder / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} "$@"\n', "utf-8")
    subprocess.run([sys.executable, ROOT / "infra/merge_driver.py"], check=True)
    merged = into_conflict(tiny_pipeline, *two_sides)  # the driver waits for no .venv: it is not executable yet
    assert merged.returncode == 1
    assert dvc_files.in_conflict(POINTER.read_bytes())
    tiny_pipeline.git("merge", "--abort")
    python.chmod(0o755)
    tiny_pipeline.git("worktree", "add", "-q", "--detach", "../beside")
    merged = subprocess.run(["git", "merge", "--no-edit", "colleague"], cwd="../beside", capture_output=True, text=True)
    assert merged.returncode == 0, merged.stdout + merged.stderr
    pointer = Path("../beside/data/raw.dvc").read_bytes()
    assert pointer == raw_merge.join(*two_sides).pointer


def test_the_driver_leaves_what_it_cannot_join(tmp_path, tiny_pipeline, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["raw_merge", *(str(tmp_path / name) for name in ("base", "ours", "theirs"))])
    for name in ("base", "ours", "theirs"):
        (tmp_path / name).write_text("outs:\n- md5: 12", "utf-8")
    assert raw_merge.main() == 1
    assert "stays in conflict" in capsys.readouterr().err
