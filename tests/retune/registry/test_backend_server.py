"""A version whose bytes a server hands out: what is read is what the server has now, and no copy of it stays."""

import shutil
import signal
from pathlib import Path

import pytest

from flows.execution import recovery
from retune.errors import Refused
from retune.registry import backend, clean_process, versions

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("server_artifacts")]

READ = """
import sys
from retune.registry import versions
version = versions.resolve(sys.argv[1])
folders = {versions.checked_folder(version) for _ in range(3)}
print(*folders, flush=True)
sys.stdin.read()
"""


def copies(folder=Path(".retune/scratch")):
    """The packed versions that lie below a folder."""
    return list(folder.rglob("MLmodel"))


@pytest.fixture
def start_reader(sealed_version, start_program):
    """A process that has read a version three times, and waits for its standard input to end; and where it lies."""
    version, own_copy = sealed_version()
    shutil.rmtree(own_copy)
    process = start_program(READ, Path.cwd(), str(version))
    yield process, process.stdout.readline().split()
    process.kill()
    process.communicate()


def test_a_process_that_reads_a_version_often_has_one_copy_and_takes_it_with_it(start_reader):
    process, (folder,) = start_reader
    assert copies() == [Path(folder).relative_to(Path.cwd()) / "MLmodel"]
    process.communicate("")
    assert process.returncode == 0 and copies() == []
    assert list(Path("tmp").iterdir()) == []


def test_the_copy_of_a_killed_process_is_swept_by_the_next(start_reader):
    process, _ = start_reader
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(copies()) == 1
    (message,) = recovery.scratch()
    assert f"/{process.pid}-" in message and copies() == []
    assert list(Path("tmp").iterdir()) == []


def test_what_was_changed_on_the_server_is_noticed_by_who_has_read_it_before(sealed_version, server_artifacts):
    version, _ = sealed_version()
    versions.checked_folder(version)
    (folder,) = server_artifacts.glob(f"*/{version.run_id}/artifacts/model")
    (folder / "added.py").write_text("print('not registered')")
    with pytest.raises(Refused, match=r"added\.py"):
        versions.checked_folder(version)
    (folder / "added.py").unlink()
    versions.checked_folder(version)


def test_a_clean_process_leaves_no_copy_either(sealed_version):
    version, own_copy = sealed_version()
    shutil.rmtree(own_copy)
    with clean_process.clean_process() as process:
        assert len(clean_process.predict_in_clean_process(process, version, ["broken screen"])) == 1
        assert len(copies()) == 1
    assert copies() == [] and copies(Path("tmp")) == []


def test_what_only_reads_works_where_nothing_can_be_written(sealed_version, monkeypatch):
    version, _ = sealed_version()
    monkeypatch.setattr("os.access", lambda *_: False)
    backend.lasting_scratch.cache_clear()
    assert versions.checked_folder(version).is_relative_to(Path("tmp").absolute())
