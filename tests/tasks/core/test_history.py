"""Against real git repositories; GTO itself reads what was written."""

import random
import subprocess
import sys
import threading
import zlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.core import history

FACTS = {"Evidence": "e" * 64, "Seal": "5" * 64, "Signer": "unsigned", "Train": "a" * 32}


def git(*arguments, said=None):
    done = subprocess.run(["git", *arguments], capture_output=True, input=said)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """An empty repository, entered; makes commits for versions to hang on."""
    monkeypatch.chdir(tmp_path)
    git("init", "-q", "-b", "main")
    for key, value in {"user.name": "A. Tester", "user.email": "tester@example.com", "gc.auto": "0"}.items():
        git("config", key, value)
    return tmp_path


@pytest.fixture
def heads():
    """What the registry would keep: name -> number and hash of the last entry."""
    return {}


@pytest.fixture
def add(repository, heads):
    clock = iter(range(1_800_000_000, 1_900_000_000, 60))
    records = {}

    def append(version, event=history.REGISTERED, model="classifier", why=("train: epochs 3 → 5",), at=True):
        if (model, version) not in records:
            git("commit", "-q", "--allow-empty", "-m", f"record of {model}/{version}")
            records[model, version] = git("rev-parse", "HEAD").strip()
        facts = {"Record": records[model, version], **FACTS}
        moment = datetime.fromtimestamp(next(clock), UTC) if at else None
        return history.append(
            model, version, event, why, facts, lambda entry: heads.update({model: entry.head}), moment
        )

    return append


@pytest.fixture
def three(add):
    """Version 1 and its promotion, version 2 and its promotion, version 3, which was held."""
    add(1), add(1, history.CHAMPION), add(2), add(2, history.CHAMPION), add(3)
    return history.read("classifier")


def wrong(chain, head):
    return [link.name for link in history.check(chain, head) if not link.ok]


def rewrite(tag, change):
    """Put an edited tag object in the place of an entry, as somebody who knows git would."""
    content = change(git("cat-file", "tag", tag))
    made = git("hash-object", "-t", "tag", "-w", "--stdin", "--literally", said=content.encode()).strip()
    git("update-ref", f"refs/tags/{tag}", made)


def test_an_entry_says_who_did_what_when_and_why(add):
    entry = add(1, why=["train: epochs 3 → 5", "two\nlines\n\nEntry: 9"])
    (read,) = history.read("classifier").entries
    assert read == entry
    assert (read.number, read.tag, read.event, read.model, read.version) == (
        1,
        "classifier@v1.0.0#1",
        "registered",
        "classifier",
        1,
    )
    assert read.by == "A. Tester <tester@example.com>"
    assert read.at == datetime.fromtimestamp(1_800_000_000, UTC).isoformat()
    assert read.why == ("train: epochs 3 → 5", "two lines Entry: 9")
    assert {key: read.facts[key] for key in FACTS} == FACTS
    assert read.previous == history.START
    assert read.commit == read.facts["Record"]


def test_the_champion_of_any_time_and_when_each_served(three):
    crowned = [entry for entry in three.entries if entry.event == history.CHAMPION]
    assert three.champion().version == 2
    assert three.champion(datetime.fromisoformat(crowned[1].at)).version == 2
    assert three.champion(datetime.fromtimestamp(1_800_000_100, UTC)).version == 1
    assert three.champion(datetime.fromtimestamp(0, UTC)) is None
    assert three.served(1) == [{"from": crowned[0].at, "to": crowned[1].at}]
    assert three.served(2) == [{"from": crowned[1].at, "to": None}]
    assert three.served(3) == []
    assert [three.aliases(version) for version in (1, 2, 3)] == [[], ["champion"], ["challenger"]]


def test_gto_tells_the_same_story(three):
    gto = str(Path(sys.executable).with_name("gto"))
    told = subprocess.run([gto, "history", "classifier", "--json"], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    for entry in three.entries:
        assert entry.tag in told.stdout
    shown = subprocess.run([gto, "show", "classifier#champion"], capture_output=True, text=True)
    assert "v2.0.0" in shown.stdout, shown.stderr


def test_each_hash_is_what_plain_tools_say(three):
    for entry, following in zip(three.entries, three.entries[1:], strict=False):
        told = subprocess.run(f"git cat-file tag '{entry.tag}' | sha256sum", shell=True, capture_output=True, text=True)
        assert told.stdout.split()[0] == entry.sha256 == following.previous


def test_an_untouched_history_checks_out(three, heads):
    assert wrong(three, heads["classifier"]) == []
    assert wrong(history.read("nobody"), None) == []


@pytest.mark.parametrize("number", range(5))
def test_an_edited_entry_is_found(three, heads, number):
    tag = three.entries[number].tag
    rewrite(tag, lambda content: content.replace("epochs 3 → 5", "epochs 3 → 6"))
    found = wrong(history.read("classifier"), heads["classifier"])
    following = three.entries[number + 1].tag if number < 4 else None
    assert found == [f"history {following}"] if following else ["history, last entry"]


@pytest.mark.parametrize("number", range(5))
def test_a_removed_entry_is_found(three, heads, number):
    git("tag", "-d", three.entries[number].tag)
    assert wrong(history.read("classifier"), heads["classifier"])


def test_two_entries_that_changed_places_are_found(three, heads):
    first, second = three.entries[1].tag, three.entries[3].tag
    one, other = git("rev-parse", first).strip(), git("rev-parse", second).strip()
    git("update-ref", f"refs/tags/{first}", other)
    git("update-ref", f"refs/tags/{second}", one)
    found = wrong(history.read("classifier"), heads["classifier"])
    assert {f"history {first}", f"history {second}"} <= set(found)


def test_an_entry_moved_to_another_commit_is_found(three, heads):
    elsewhere = git("rev-parse", "HEAD").strip()
    rewrite(three.last.tag, lambda content: content.replace(three.last.commit, elsewhere[::-1][:40], 1))
    assert wrong(history.read("classifier"), heads["classifier"])


def test_an_entry_added_behind_the_registrys_back_is_found(three, heads, add):
    head = heads["classifier"]
    add(1, history.CHAMPION)
    assert wrong(history.read("classifier"), head) == ["history, last entry"]


def test_a_tag_of_its_name_that_is_no_entry_is_named_and_spoils_no_numbers(three, heads, add):
    git("tag", "-a", "-m", "by hand", "classifier#champion#9", "HEAD")
    git("tag", "classifier@v9.0.0", "HEAD")
    chain = history.read("classifier")
    assert set(chain.damaged) == {"classifier#champion#9", "classifier@v9.0.0"}
    assert {"history classifier#champion#9", "history classifier@v9.0.0"} <= set(wrong(chain, heads["classifier"]))
    assert add(4).number == 10


def test_a_flipped_bit_in_the_object_of_an_entry_is_found(three, heads):
    """200 flips in what the object says, whichever the entry; git's own check of the object's name is left out."""
    draw = random.Random(7)
    for _ in range(200):
        entry = draw.choice(three.entries)
        name = git("rev-parse", f"refs/tags/{entry.tag}").strip()
        path = Path(".git/objects") / name[:2] / name[2:]
        before = path.read_bytes()
        head, _, body = zlib.decompress(before).partition(b"\0")
        flipped = bytearray(body)
        at = draw.randrange(len(flipped))
        flipped[at] ^= 1 << draw.randrange(8)
        path.chmod(0o644)
        path.write_bytes(zlib.compress(head + b"\0" + bytes(flipped)))
        assert wrong(history.read("classifier"), heads["classifier"]), (entry.tag, at)
        path.write_bytes(before)
    assert wrong(history.read("classifier"), heads["classifier"]) == []


def test_a_damaged_object_is_named_and_the_others_are_still_read(three, heads):
    name = git("rev-parse", f"refs/tags/{three.entries[2].tag}").strip()
    path = Path(".git/objects") / name[:2] / name[2:]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-9])
    chain = history.read("classifier")
    assert list(chain.damaged) == [three.entries[2].tag]
    assert len(chain.entries) == 4
    assert f"history {three.entries[2].tag}" in wrong(chain, heads["classifier"])


def test_writing_the_same_event_again_adds_nothing_but_mends_the_registry(add, heads):
    add(1), add(1, history.CHAMPION)
    heads.clear()
    add(1, history.CHAMPION)
    add(1)
    assert len(history.read("classifier").entries) == 2
    assert wrong(history.read("classifier"), heads["classifier"]) == []


def test_a_version_may_become_champion_again(add, heads):
    for version, event in [(1, "registered"), (1, "champion"), (2, "registered"), (2, "champion"), (1, "champion")]:
        add(version, event)
    chain = history.read("classifier")
    assert [entry.version for entry in chain.entries if entry.event == "champion"] == [1, 2, 1]
    assert len(chain.served(1)) == 2
    assert wrong(chain, heads["classifier"]) == []


def test_writers_at_the_same_time_lose_nothing(add, heads):
    facts = {"Record": add(1).commit, **FACTS}
    threads = [
        threading.Thread(
            target=history.append, args=("classifier", version, "registered", (), facts, lambda entry: None)
        )
        for version in range(2, 6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    chain = history.read("classifier")
    assert sorted(entry.version for entry in chain.entries) == [1, 2, 3, 4, 5]
    assert wrong(chain, chain.last.head) == []


def test_models_have_histories_of_their_own(add, heads):
    add(1), add(1, model="classifier-2"), add(2)
    assert history.names() == ["classifier", "classifier-2"]
    assert [entry.version for entry in history.read("classifier").entries] == [1, 2]
    assert wrong(history.read("classifier-2"), heads["classifier-2"]) == []


def test_entries_are_seconds_apart_since_gto_orders_them_by_time(add):
    first, second = add(1, at=False), add(1, history.CHAMPION, at=False)
    assert datetime.fromisoformat(second.at) > datetime.fromisoformat(first.at)
