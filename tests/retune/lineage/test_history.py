"""Against real git repositories; GTO itself reads what was written."""

import json
import random
import subprocess
import sys
import threading
import zlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from retune.errors import Broken, Refused
from retune.lineage import history

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
def anchor(heads):
    """As the registry does it."""

    def keep(chain):
        history.must_hold(chain, heads.get(chain.model))
        if chain.entries:
            heads[chain.model] = chain.head

    return keep


@pytest.fixture
def add(repository, anchor):
    clock = iter(range(1_800_000_000, 1_900_000_000, 60))
    records = {}

    def append(version, event=history.REGISTERED, model="classifier", why=("train: epochs 3 → 5",), at=True):
        if (model, version) not in records:
            git("commit", "-q", "--allow-empty", "-m", f"record of {model}/{version}")
            records[model, version] = git("rev-parse", "HEAD").strip()
        facts = {"Record": records[model, version], **FACTS}
        moment = datetime.fromtimestamp(next(clock), UTC) if at else None
        return history.append(model, version, event, why, facts, anchor, moment)

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
    told = gto("history", "classifier", "--json")
    for entry in three.entries:
        assert entry.tag in told
    assert "v2.0.0" in gto("show", "classifier#champion")


def gto(*arguments):
    done = subprocess.run([Path(sys.executable).with_name("gto"), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_gto_lists_versions_and_stages_also_where_persons_and_retrainings_have_decided(add, decide):
    git("commit", "-q", "--allow-empty", "-m", "start")
    before = decide("nothing is there yet")
    assert "d" in gto("show", "classifier")
    add(1), add(1, history.CHAMPION), decide("nothing to do"), add(2), add(2, history.REJECTED)
    add(3), add(3, history.APPROVED), add(3, history.CHAMPION), decide("enough new rows")
    chain = history.read("classifier")
    assert len(chain.entries) == 10
    told = gto("history", "classifier", "--json")
    for entry in chain.entries:
        assert entry.tag in told
    shown = json.loads(gto("show", "classifier", "--json"))
    stages = {each["version"]: {stage["stage"] for stage in each["stages"]} for each in shown}
    assert stages["v3.0.0"] == {"approved", "champion", "decided"}
    assert stages["v2.0.0"] == {"rejected"}
    assert before.commit in stages
    assert gto("show")


@pytest.fixture
def decide(anchor, add):
    clock = iter(range(1_800_000_000, 1_900_000_000, 60))

    def decide(why, **facts):
        at = datetime.fromtimestamp(next(clock), UTC)
        return history.append_decision("classifier", [why], facts, anchor, at)

    return decide


def test_a_decision_names_the_champion_and_its_inputs_and_each_is_an_entry_of_its_own(add, decide, heads):
    git("commit", "-q", "--allow-empty", "-m", "start")
    first = decide("nothing is there yet", Rows="0")
    assert (first.tag, first.version, first.commit) == ("classifier#decided#1", 0, git("rev-parse", "HEAD").strip())
    add(1), add(1, history.CHAMPION)
    twice = [decide("nothing to do", **{"New-rows": "3 of 100 asked"}) for _ in range(2)]
    assert [(entry.number, entry.version) for entry in twice] == [(4, 1), (5, 1)]
    assert twice[0].facts["New-rows"] == "3 of 100 asked"
    chain = history.read("classifier")
    assert chain.champion().number == 3
    assert chain.aliases(1) == ["champion"]
    assert chain.served(1)[0]["to"] is None
    assert wrong(chain, heads["classifier"]) == []


@pytest.mark.parametrize("name", ["rows", "New rows", "Entry", "Rows:", "Rows1"])
def test_a_fact_whose_name_no_reader_would_find_is_refused(add, decide, name):
    add(1)
    with pytest.raises(Broken, match="cannot be a fact of a history entry"):
        decide("why", **{name: "1"})
    assert len(history.read("classifier").entries) == 1


def test_an_answer_is_written_once_and_a_rejected_version_is_no_challenger(add):
    add(1), add(1, history.CHAMPION), add(2)
    assert history.read("classifier").aliases(2) == ["challenger"]
    first, second = add(2, history.REJECTED), add(2, history.REJECTED)
    assert first == second
    chain = history.read("classifier")
    assert chain.answer(2) == first
    assert chain.answer(1) is None
    assert chain.aliases(2) == []


def test_who_holds_the_lock_may_write_and_others_wait(add, monkeypatch):
    monkeypatch.setattr(history, "PATIENCE", 0.2)
    failed = []

    def other():
        try:
            add(2)
        except Broken as error:
            failed.append(str(error))

    with history.writing():
        add(1)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert "another writer has held" in failed[0]
    assert add(2).number == 2


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


# ---------------------------------------------------------------- what is lost stays found


def refused(write, heads):
    """What it says; nothing is written, here or there."""
    before = git("tag"), dict(heads)
    with pytest.raises(Refused, match=r"is not whole(?s:.*)Nothing was written(?s:.*)`git fetch --tags`") as caught:
        write()
    assert (git("tag"), heads) == before
    return str(caught.value)


@pytest.mark.parametrize("lost", [[0], [1], [2], [3], [4], [3, 4], [0, 1, 2, 3, 4]])
def test_no_entry_hides_that_others_were_lost_and_it_is_written_once_they_are_back(three, heads, add, decide, lost):
    tags = {three.entries[number].tag: git("rev-parse", f"refs/tags/{three.entries[number].tag}") for number in lost}
    git("tag", "-d", *tags)
    refused(lambda: decide("nothing to do"), heads)
    refused(lambda: add(4), heads)
    refused(lambda: add(1), heads)
    for tag, name in tags.items():
        git("update-ref", f"refs/tags/{tag}", name.strip())
    assert decide("nothing to do").number == 6
    assert wrong(history.read("classifier"), heads["classifier"]) == []


def test_it_says_what_is_missing_and_what_there_is(three, heads, decide):
    git("tag", "-d", "classifier@v3.0.0#5", "classifier#champion#4")
    said = refused(lambda: decide("nothing to do"), heads)
    assert f"knows entry 5 (sha256 {three.last.sha256[:12]}), the last one here is classifier@v2.0.0#3" in said
    git("tag", "-d", "classifier@v2.0.0#3", "classifier#champion#2", "classifier@v1.0.0#1")
    assert "the last one here is none" in refused(lambda: decide("nothing to do"), heads)


@pytest.mark.parametrize("number", range(5))
def test_no_entry_hides_that_another_was_edited(three, heads, decide, number):
    rewrite(three.entries[number].tag, lambda content: content.replace("epochs 3 → 5", "epochs 3 → 6"))
    refused(lambda: decide("nothing to do"), heads)


def test_entries_that_the_registry_does_not_know_yet_are_whole(three, heads, decide):
    """A kill comes between an entry and its anchor; a backup has the registry first, and then git."""
    for known in (three.entries[3], three.entries[1]):
        heads["classifier"] = known.head
        decide("nothing to do")
        assert wrong(history.read("classifier"), heads["classifier"]) == []


def test_a_person_who_takes_the_anchor_away_goes_on_with_what_is_there(three, heads, decide):
    git("tag", "-d", three.entries[3].tag, three.last.tag)
    refused(lambda: decide("nothing to do"), heads)
    heads.clear()
    assert decide("the tags are lost").number == 4
    assert history.read("classifier").champion().version == 1
    assert wrong(history.read("classifier"), heads["classifier"]) == []


def test_a_gap_is_refused_without_an_anchor_too(three, heads, decide):
    git("tag", "-d", three.entries[3].tag)
    heads.clear()
    assert f"{three.last.tag} does not follow" in refused(lambda: decide("nothing to do"), heads)


# ---------------------------------------------------------------- more than one


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
