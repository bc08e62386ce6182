"""Tell git of this clone how to merge data/raw.dvc: `make setup` runs it; .gitattributes names the file.

The command is the clone's own, also in its worktrees. Where it cannot run or cannot join, git leaves an ordinary
conflict.
"""

import subprocess
import sys

DRIVER = (
    'python="$(git rev-parse --git-common-dir)/../.venv/bin/python"; '
    'test -x "$python" && "$python" -m flows.execution.raw_merge %O %A %B '
    "|| git merge-file --marker-size=%L -L ours -L base -L theirs %A %O %B"
)
SETTINGS = {"name": "join the parts of data/raw of both sides", "driver": DRIVER}


def main() -> int:
    for key, value in SETTINGS.items():
        done = subprocess.run(["git", "config", f"merge.retune-raw.{key}", value], capture_output=True, text=True)
        if done.returncode:  # an archive without git, or a checkout of another account
            print(f"git was not told how to merge data/raw.dvc: {done.stderr.strip()}", file=sys.stderr)
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
