"""SHA256SUMS of a real folder: every change is found and named, and `sha256sum -c` agrees."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from retune.errors import Broken
from retune.lineage import checksums

FILES = {
    "MLmodel": b"flavors: {}\n",
    "artifacts/candidate/model.safetensors": bytes(range(256)),
    "artifacts/candidate/.gitattributes": b"* text\n",
    "code/tasks/__init__.py": b"",
    "a name with spaces.txt": "über".encode(),
}


@pytest.fixture
def folder(tmp_path):
    for name, content in FILES.items():
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_bytes(content)
    return tmp_path / "model"


def wrong(links):
    return {link.name: (link.expected, link.found) for link in links if not link.ok}


def test_a_sealed_folder_checks_with_one_link_a_file_and_one_for_the_list(folder):
    seal = checksums.write(folder)
    links = checksums.check(folder, seal)
    assert [link.name for link in links] == ["SHA256SUMS", *sorted(FILES)]
    assert all(link.ok and link.expected == link.found for link in links)
    assert wrong(checksums.check(folder, None)) == {}


def test_the_seal_is_the_sha256_of_the_list_and_the_same_files_have_the_same_one(folder, tmp_path):
    seal = checksums.write(folder)
    assert seal == hashlib.sha256((folder / "SHA256SUMS").read_bytes()).hexdigest()
    assert checksums.write(folder) == seal
    again = shutil.copytree(folder, tmp_path / "elsewhere")
    assert checksums.write(again) == seal
    assert not list(folder.glob(".SHA*"))


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="no sha256sum here")
def test_sha256sum_itself_agrees(folder):
    checksums.write(folder)
    done = subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": OK") == len(FILES)


def test_a_changed_a_missing_and_an_added_file_are_all_named(folder):
    seal = checksums.write(folder)
    (folder / "MLmodel").write_bytes(b"flavors: {evil: {}}\n")
    (folder / "code/tasks/__init__.py").unlink()
    (folder / "code/tasks/__pycache__").mkdir()
    (folder / "code/tasks/__pycache__/card.cpython-311.pyc").write_bytes(b"evil")
    found = wrong(checksums.check(folder, seal))
    assert set(found) == {"MLmodel", "code/tasks/__init__.py", "code/tasks/__pycache__/card.cpython-311.pyc"}
    assert found["code/tasks/__init__.py"][1] == "missing"
    assert found["code/tasks/__pycache__/card.cpython-311.pyc"][0] == "nothing"


def test_what_mlflow_writes_at_the_first_load_is_not_reported_but_a_folder_of_that_name_hides_nothing(folder):
    (folder / "registered_model_meta").write_text("model_name: tickets\n")
    seal = checksums.write(folder)
    assert b"registered_model_meta" not in (folder / "SHA256SUMS").read_bytes()
    (folder / "registered_model_meta").write_text("model_name: tickets\nmodel_version: 3\n")
    (folder / "code/registered_model_meta").write_text("elsewhere it is a file like any other")
    assert set(wrong(checksums.check(folder, seal))) == {"code/registered_model_meta"}
    (folder / "registered_model_meta").unlink()
    (folder / "registered_model_meta").mkdir()
    (folder / "registered_model_meta/evil.py").touch()
    assert "registered_model_meta/evil.py" in wrong(checksums.check(folder, seal))


def test_a_list_written_anew_for_changed_files_does_not_fit_the_seal(folder):
    seal = checksums.write(folder)
    (folder / "MLmodel").write_bytes(b"flavors: {evil: {}}\n")
    other = checksums.write(folder)
    assert wrong(checksums.check(folder, seal)) == {"SHA256SUMS": (seal, other)}


@pytest.mark.parametrize("change", [lambda text: text[:-1], lambda text: text + b"# hello\n", lambda text: text * 2])
def test_a_list_that_is_not_as_it_was_written_is_damaged_even_where_no_seal_is_known(folder, change):
    checksums.write(folder)
    path = folder / "SHA256SUMS"
    path.write_bytes(change(path.read_bytes()))
    assert "damaged" in wrong(checksums.check(folder, None))["SHA256SUMS"][1]


def test_without_the_list_or_without_the_folder_the_list_is_missing(folder, tmp_path):
    assert wrong(checksums.check(folder, "seal")) == {"SHA256SUMS": ("seal", "missing")}
    assert wrong(checksums.check(tmp_path / "gone", "seal")) == {"SHA256SUMS": ("seal", "missing")}


def test_a_line_that_names_a_file_outside_reads_nothing_there(folder, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    line = f"{hashlib.sha256(b'secret').hexdigest()}  ../secret\n"
    (folder / "SHA256SUMS").write_text(line)
    assert wrong(checksums.check(folder, None))["../secret"][1] == "missing"


def test_links_and_pipes_are_named_and_not_followed(folder, tmp_path):
    seal = checksums.write(folder)
    elsewhere = shutil.copytree(folder / "code", tmp_path / "code")
    shutil.rmtree(folder / "code")
    (folder / "code").symlink_to(elsewhere)
    os.mkfifo(folder / "pipe")  # reading it would wait for ever
    found = wrong(checksums.check(folder, seal))
    assert found["code"] == ("nothing", "a link")
    assert found["pipe"] == ("nothing", "no plain file")
    assert found["code/tasks/__init__.py"][1] == "missing"
    with pytest.raises(Broken, match="code is a link"):
        checksums.write(folder)


@pytest.mark.parametrize("name", ["two\nlines", "back\\slash", os.fsdecode(b"no\xffutf8")])
def test_a_file_that_no_line_could_name_is_refused_and_shown_when_it_is_added(folder, name):
    seal = checksums.write(folder)
    (folder / name).touch()
    (added,) = wrong(checksums.check(folder, seal))
    assert added.isprintable()
    added.encode()
    with pytest.raises(Broken, match="cannot be sealed"):
        checksums.write(folder)


def test_the_module_needs_nothing_but_the_standard_library():
    root = Path(__file__).parents[3]
    program = f"import sys; sys.path.insert(0, {str(root)!r}); import retune.lineage.checksums"
    done = subprocess.run([sys.executable, "-I", "-S", "-B", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
