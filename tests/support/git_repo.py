"""Scratch repositories of git and DVC."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.support.environment import QUIET


@pytest.fixture(scope="session")
def make_dvc_repository(fill_once):
    """Makes a folder a fresh git and DVC repository without a commit, as a copy: `dvc init` takes a second."""

    def init(folder):
        for command in (["git", "init", "-q", "-b", "main"], [sys.executable, "-m", "dvc", "init", "-q"]):
            subprocess.run(command, cwd=folder, env={**os.environ, **QUIET}, check=True)

    template = fill_once("repository", init)
    return lambda folder: shutil.copytree(template, folder, dirs_exist_ok=True)
