"""What the commands of lineage answer, and what plain tools print of the same clone."""

import json
import os
import subprocess
import sys
from pathlib import Path

from retune.registry import versions


def ask(registered_clone, *arguments, code=0):
    """The JSON that a command answers."""
    done = registered_clone.call(*arguments, "--json")
    assert done.returncode == code, done.stdout[-2000:] + done.stderr
    return json.loads(done.stdout)


def wrong(links):
    return [link["name"] for link in links if not link["ok"]]


def folder_of(version="1"):
    return versions.version_folder(versions.resolve(f"classifier/{version}"))


def wrong_links(links):
    return [link.name for link in links if not link.ok]


def plain(command, folder):
    """What a shell prints that has git, dvc, gto and sha256sum, and no Retune."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
