"""Folders that are filled once a session, for all workers of pytest-xdist, and an empty one for one test."""

import os
import shutil

import pytest
from filelock import FileLock


@pytest.fixture(scope="session")
def fill_once(tmp_path_factory):
    """Fills a folder once a session, for all workers: the first that asks does it, the others wait for it.

    Who is given a folder leaves it as it is.
    """
    base_folder = tmp_path_factory.getbasetemp()
    shared = base_folder.parent if os.environ.get("PYTEST_XDIST_WORKER") else base_folder

    def make(name, fill):
        folder = shared / name
        with FileLock(shared / f"{name}.lock"):
            if not (shared / f"{name}.full").exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                (shared / f"{name}.full").touch()
        return folder

    return make


@pytest.fixture
def scratch_folder(tmp_path, monkeypatch):
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
