"""Entries of a history in git, and how tests damage them."""

import subprocess

from retune.lineage import history

FACTS = {"Evidence": "e" * 64, "Seal": "5" * 64, "Signer": "unsigned", "Train": "a" * 32}


def git(*arguments, input_bytes=None):
    done = subprocess.run(["git", *arguments], capture_output=True, input=input_bytes)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def wrong(chain, head):
    return [link.name for link in history.check(chain, head) if not link.ok]


def rewrite(tag, change):
    """Put an edited tag object in the place of an entry, as somebody who knows git would."""
    content = change(git("cat-file", "tag", tag))
    digest = git("hash-object", "-t", "tag", "-w", "--stdin", "--literally", input_bytes=content.encode()).strip()
    git("update-ref", f"refs/tags/{tag}", digest)
