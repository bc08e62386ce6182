"""Scratch repositories of git and DVC."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.support.environment import QUIET

IDENTITY = {"user.name": "A. Tester", "user.email": "tester@example.com"}  # a fresh machine has none


def git(*arguments, cwd=None):
    return subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True, check=True).stdout.strip()


def init_repository(folder):
    """Makes a folder a repository of somebody, with one commit."""
    git("init", "-q", "-b", "main", cwd=folder)
    for key, value in {**IDENTITY, "gc.auto": "0"}.items():
        git("config", key, value, cwd=folder)
    git("commit", "-q", "--allow-empty", "-m", "start", cwd=folder)


@pytest.fixture
def git_repository(scratch_folder):
    """An empty repository with one commit, which is the current folder."""
    init_repository(scratch_folder)
    return scratch_folder


@pytest.fixture(scope="session")
def make_dvc_repository(fill_once):
    """Makes a folder a fresh git and DVC repository without a commit, as a copy: `dvc init` takes a second."""

    def init(folder):
        for command in (["git", "init", "-q", "-b", "main"], [sys.executable, "-m", "dvc", "init", "-q"]):
            subprocess.run(command, cwd=folder, env={**os.environ, **QUIET}, check=True)

    template = fill_once("repository", init)
    return lambda folder: shutil.copytree(template, folder, dirs_exist_ok=True)
