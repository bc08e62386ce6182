"""What is changed, damaged or lost is found, and nothing is written over it."""

import random
import subprocess
import zlib
from pathlib import Path

import pytest

from retune.errors import Refused
from retune.lineage import history
from tests.support.histories import git, rewrite, wrong


def test_each_hash_is_what_plain_tools_say(three_versions):
    for entry, following in zip(three_versions.entries, three_versions.entries[1:], strict=False):
        digest = subprocess.run(
            f"git cat-file tag '{entry.tag}' | sha256sum", shell=True, capture_output=True, text=True
        )
        assert digest.stdout.split()[0] == entry.sha256 == following.previous


def test_an_untouched_history_checks_out(three_versions, registry_heads):
    assert wrong(three_versions, registry_heads["classifier"]) == []
    assert wrong(history.read("nobody"), None) == []


@pytest.mark.parametrize("number", range(5))
def test_an_edited_entry_is_found_and_named_beside_the_one_that_follows_on_it(three_versions, registry_heads, number):
    tag = three_versions.entries[number].tag
    rewrite(tag, lambda content: content.replace("epochs 3 → 5", "epochs 3 → 6"))
    faults = wrong(history.read("classifier"), registry_heads["classifier"])
    following = three_versions.entries[number + 1].tag if number < 4 else None
    assert faults == ([f"history {following} on {tag}"] if following else ["history, last entry"])


@pytest.mark.parametrize("number", range(5))
def test_a_removed_entry_is_found(three_versions, registry_heads, number):
    git("tag", "-d", three_versions.entries[number].tag)
    assert wrong(history.read("classifier"), registry_heads["classifier"])


def test_two_entries_that_changed_places_are_found(three_versions, registry_heads):
    first, second = three_versions.entries[1].tag, three_versions.entries[3].tag
    one, other = git("rev-parse", first).strip(), git("rev-parse", second).strip()
    git("update-ref", f"refs/tags/{first}", other)
    git("update-ref", f"refs/tags/{second}", one)
    faults = wrong(history.read("classifier"), registry_heads["classifier"])
    assert {first, second} <= {word for fault in faults for word in fault.split()}


def test_an_entry_moved_to_another_commit_is_found(three_versions, registry_heads):
    elsewhere = git("rev-parse", "HEAD").strip()
    rewrite(
        three_versions.last.tag, lambda content: content.replace(three_versions.last.commit, elsewhere[::-1][:40], 1)
    )
    assert wrong(history.read("classifier"), registry_heads["classifier"])


def test_an_entry_added_behind_the_registrys_back_is_found(three_versions, registry_heads, append_entry):
    head = registry_heads["classifier"]
    append_entry(1, history.CHAMPION)
    assert wrong(history.read("classifier"), head) == ["history, last entry"]


def test_a_tag_of_its_name_that_is_no_entry_is_named_and_spoils_no_numbers(
    three_versions, registry_heads, append_entry
):
    git("tag", "-a", "-m", "by hand", "classifier#champion#9", "HEAD")
    git("tag", "classifier@v9.0.0", "HEAD")
    chain = history.read("classifier")
    assert set(chain.damaged) == {"classifier#champion#9", "classifier@v9.0.0"}
    assert {"history classifier#champion#9", "history classifier@v9.0.0"} <= set(
        wrong(chain, registry_heads["classifier"])
    )
    assert append_entry(4).number == 10


def test_a_flipped_bit_in_the_object_of_an_entry_is_found(three_versions, registry_heads):
    """200 flips in what the object says, whichever the entry; git's own check of the object's name is left out."""
    draw = random.Random(7)
    for _ in range(200):
        entry = draw.choice(three_versions.entries)
        name = git("rev-parse", f"refs/tags/{entry.tag}").strip()
        path = Path(".git/objects") / name[:2] / name[2:]
        before = path.read_bytes()
        head, _, body = zlib.decompress(before).partition(b"\0")
        flipped = bytearray(body)
        at = draw.randrange(len(flipped))
        flipped[at] ^= 1 << draw.randrange(8)
        path.chmod(0o644)
        path.write_bytes(zlib.compress(head + b"\0" + bytes(flipped)))
        assert wrong(history.read("classifier"), registry_heads["classifier"]), (entry.tag, at)
        path.write_bytes(before)
    assert wrong(history.read("classifier"), registry_heads["classifier"]) == []


def test_a_damaged_object_is_named_and_the_others_are_still_read(three_versions, registry_heads):
    name = git("rev-parse", f"refs/tags/{three_versions.entries[2].tag}").strip()
    path = Path(".git/objects") / name[:2] / name[2:]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-9])
    chain = history.read("classifier")
    assert list(chain.damaged) == [three_versions.entries[2].tag]
    assert len(chain.entries) == 4
    assert f"history {three_versions.entries[2].tag}" in wrong(chain, registry_heads["classifier"])


def refused(write, registry_heads):
    """What it says; nothing is written, here or there."""
    before = git("tag"), dict(registry_heads)
    with pytest.raises(Refused, match=r"is not whole(?s:.*)Nothing was written(?s:.*)`git fetch --tags`") as caught:
        write()
    assert (git("tag"), registry_heads) == before
    return str(caught.value)


@pytest.mark.parametrize("missing", [[0], [1], [2], [3], [4], [3, 4], [0, 1, 2, 3, 4]])
def test_no_entry_hides_that_others_were_lost_and_it_is_written_once_they_are_back(
    three_versions, registry_heads, append_entry, append_decision, missing
):
    tags = {
        three_versions.entries[number].tag: git("rev-parse", f"refs/tags/{three_versions.entries[number].tag}")
        for number in missing
    }
    git("tag", "-d", *tags)
    refused(lambda: append_decision("nothing to do"), registry_heads)
    refused(lambda: append_entry(4), registry_heads)
    refused(lambda: append_entry(1), registry_heads)
    for tag, name in tags.items():
        git("update-ref", f"refs/tags/{tag}", name.strip())
    assert append_decision("nothing to do").number == 6
    assert wrong(history.read("classifier"), registry_heads["classifier"]) == []


def test_it_says_what_is_missing_and_what_there_is(three_versions, registry_heads, append_decision):
    git("tag", "-d", "classifier@v3.0.0#5", "classifier#champion#4")
    message = refused(lambda: append_decision("nothing to do"), registry_heads)
    assert (
        f"knows entry 5 (sha256 {three_versions.last.sha256[:12]}), the last one here is classifier@v2.0.0#3" in message
    )
    git("tag", "-d", "classifier@v2.0.0#3", "classifier#champion#2", "classifier@v1.0.0#1")
    assert "the last one here is none" in refused(lambda: append_decision("nothing to do"), registry_heads)


@pytest.mark.parametrize("number", range(5))
def test_no_entry_hides_that_another_was_edited(three_versions, registry_heads, append_decision, number):
    rewrite(three_versions.entries[number].tag, lambda content: content.replace("epochs 3 → 5", "epochs 3 → 6"))
    refused(lambda: append_decision("nothing to do"), registry_heads)


def test_entries_that_the_registry_does_not_know_yet_are_whole(three_versions, registry_heads, append_decision):
    """A kill comes between an entry and its anchor; a backup has the registry first, and then git."""
    for entry in (three_versions.entries[3], three_versions.entries[1]):
        registry_heads["classifier"] = entry.head
        append_decision("nothing to do")
        assert wrong(history.read("classifier"), registry_heads["classifier"]) == []


def test_a_person_who_takes_the_anchor_away_goes_on_with_what_is_there(three_versions, registry_heads, append_decision):
    git("tag", "-d", three_versions.entries[3].tag, three_versions.last.tag)
    refused(lambda: append_decision("nothing to do"), registry_heads)
    registry_heads.clear()
    assert append_decision("the tags are lost").number == 4
    assert history.read("classifier").champion().version == 1
    assert wrong(history.read("classifier"), registry_heads["classifier"]) == []


def test_a_gap_is_refused_without_an_anchor_too(three_versions, registry_heads, append_decision):
    git("tag", "-d", three_versions.entries[3].tag)
    registry_heads.clear()
    loose = f"{three_versions.last.tag} does not follow on {three_versions.entries[2].tag}: one of the two was altered"
    assert loose in refused(lambda: append_decision("nothing to do"), registry_heads)
