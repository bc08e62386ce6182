"""SHA256SUMS of a real folder: every change is found and named, and `sha256sum -c` agrees."""

import hashlib
import os
import shutil
import subprocess
import sys

import pytest

from retune.errors import Broken
from retune.lineage import checksums
from tests.support.environment import ROOT

FILES = {
    "MLmodel": b"flavors: {}\n",
    "artifacts/candidate/model.safetensors": bytes(range(256)),
    "artifacts/candidate/.gitattributes": b"* text\n",
    "code/tasks/__init__.py": b"",
    "a name with spaces.txt": "über".encode(),
}


@pytest.fixture
def version_folder(tmp_path):
    for name, content in FILES.items():
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_bytes(content)
    return tmp_path / "model"


def wrong(links):
    return {link.name: (link.expected, link.found) for link in links if not link.ok}


def test_a_sealed_folder_checks_with_one_link_a_file_and_one_for_the_list(version_folder):
    seal = checksums.write(version_folder)
    links = checksums.check(version_folder, seal)
    assert [link.name for link in links] == ["SHA256SUMS", *sorted(FILES)]
    assert all(link.ok and link.expected == link.found for link in links)
    assert wrong(checksums.check(version_folder, None)) == {}


def test_the_seal_is_the_sha256_of_the_list_and_the_same_files_have_the_same_one(version_folder, tmp_path):
    seal = checksums.write(version_folder)
    assert seal == hashlib.sha256((version_folder / "SHA256SUMS").read_bytes()).hexdigest()
    assert checksums.write(version_folder) == seal
    again = shutil.copytree(version_folder, tmp_path / "elsewhere")
    assert checksums.write(again) == seal
    assert not list(version_folder.glob(".SHA*"))


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="no sha256sum here")
def test_sha256sum_itself_agrees(version_folder):
    checksums.write(version_folder)
    done = subprocess.run(
        ["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=version_folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": OK") == len(FILES)


def test_a_changed_a_missing_and_an_added_file_are_all_named(version_folder):
    seal = checksums.write(version_folder)
    (version_folder / "MLmodel").write_bytes(b"flavors: {evil: {}}\n")
    (version_folder / "code/tasks/__init__.py").unlink()
    (version_folder / "code/tasks/__pycache__").mkdir()
    (version_folder / "code/tasks/__pycache__/card.cpython-311.pyc").write_bytes(b"evil")
    faults = wrong(checksums.check(version_folder, seal))
    assert set(faults) == {"MLmodel", "code/tasks/__init__.py", "code/tasks/__pycache__/card.cpython-311.pyc"}
    assert faults["code/tasks/__init__.py"][1] == "missing"
    assert faults["code/tasks/__pycache__/card.cpython-311.pyc"][0] == "nothing"


def test_what_mlflow_writes_at_the_first_load_is_not_reported_but_a_folder_of_that_name_hides_nothing(version_folder):
    (version_folder / "registered_model_meta").write_text("model_name: tickets\n")
    seal = checksums.write(version_folder)
    assert b"registered_model_meta" not in (version_folder / "SHA256SUMS").read_bytes()
    (version_folder / "registered_model_meta").write_text("model_name: tickets\nmodel_version: 3\n")
    (version_folder / "code/registered_model_meta").write_text("elsewhere it is a file like any other")
    assert set(wrong(checksums.check(version_folder, seal))) == {"code/registered_model_meta"}
    (version_folder / "registered_model_meta").unlink()
    (version_folder / "registered_model_meta").mkdir()
    (version_folder / "registered_model_meta/evil.py").touch()
    assert "registered_model_meta/evil.py" in wrong(checksums.check(version_folder, seal))


def test_a_list_written_anew_for_changed_files_does_not_fit_the_seal(version_folder):
    seal = checksums.write(version_folder)
    (version_folder / "MLmodel").write_bytes(b"flavors: {evil: {}}\n")
    other = checksums.write(version_folder)
    assert wrong(checksums.check(version_folder, seal)) == {"SHA256SUMS": (seal, other)}


@pytest.mark.parametrize("change", [lambda text: text[:-1], lambda text: text + b"# hello\n", lambda text: text * 2])
def test_a_list_that_is_not_as_it_was_written_is_damaged_even_where_no_seal_is_known(version_folder, change):
    checksums.write(version_folder)
    path = version_folder / "SHA256SUMS"
    path.write_bytes(change(path.read_bytes()))
    assert "damaged" in wrong(checksums.check(version_folder, None))["SHA256SUMS"][1]


def test_without_the_list_or_without_the_folder_the_list_is_missing(version_folder, tmp_path):
    assert wrong(checksums.check(version_folder, "seal")) == {"SHA256SUMS": ("seal", "missing")}
    assert wrong(checksums.check(tmp_path / "gone", "seal")) == {"SHA256SUMS": ("seal", "missing")}


def test_a_line_that_names_a_file_outside_reads_nothing_there(version_folder, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    line = f"{hashlib.sha256(b'secret').hexdigest()}  ../secret\n"
    (version_folder / "SHA256SUMS").write_text(line)
    assert wrong(checksums.check(version_folder, None))["../secret"][1] == "missing"


def test_links_and_pipes_are_named_and_not_followed(version_folder, tmp_path):
    seal = checksums.write(version_folder)
    elsewhere = shutil.copytree(version_folder / "code", tmp_path / "code")
    shutil.rmtree(version_folder / "code")
    (version_folder / "code").symlink_to(elsewhere)
    os.mkfifo(version_folder / "pipe")  # reading it would wait for ever
    faults = wrong(checksums.check(version_folder, seal))
    assert faults["code"] == ("nothing", "a link")
    assert faults["pipe"] == ("nothing", "no plain file")
    assert faults["code/tasks/__init__.py"][1] == "missing"
    with pytest.raises(Broken, match="code is a link"):
        checksums.write(version_folder)


@pytest.mark.parametrize("name", ["two\nlines", "back\\slash", os.fsdecode(b"no\xffutf8")])
def test_a_file_that_no_line_could_name_is_refused_and_shown_when_it_is_added(version_folder, name):
    seal = checksums.write(version_folder)
    (version_folder / name).touch()
    (added,) = wrong(checksums.check(version_folder, seal))
    assert added.isprintable()
    added.encode()
    with pytest.raises(Broken, match="cannot be sealed"):
        checksums.write(version_folder)


def test_the_module_needs_nothing_but_the_standard_library():
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import retune.lineage.checksums"
    done = subprocess.run([sys.executable, "-I", "-S", "-B", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
