"""Against real git repositories; GTO itself reads what was written."""

import json
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from retune.errors import Broken
from retune.lineage import history
from tests.support.histories import FACTS, git, wrong


def test_an_entry_says_who_did_what_when_and_why(append_entry):
    entry = append_entry(1, why=["train: epochs 3 → 5", "two\nlines\n\nEntry: 9"])
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


def test_the_champion_of_any_time_and_when_each_served(three_versions):
    crowned = [entry for entry in three_versions.entries if entry.event == history.CHAMPION]
    assert three_versions.champion().version == 2
    assert three_versions.champion(datetime.fromisoformat(crowned[1].at)).version == 2
    assert three_versions.champion(datetime.fromtimestamp(1_800_000_100, UTC)).version == 1
    assert three_versions.champion(datetime.fromtimestamp(0, UTC)) is None
    assert three_versions.served(1) == [{"from": crowned[0].at, "to": crowned[1].at}]
    assert three_versions.served(2) == [{"from": crowned[1].at, "to": None}]
    assert three_versions.served(3) == []
    assert [three_versions.aliases(version) for version in (1, 2, 3)] == [[], ["champion"], ["challenger"]]


def test_gto_tells_the_same_story(three_versions):
    entries = gto("history", "classifier", "--json")
    for entry in three_versions.entries:
        assert entry.tag in entries
    assert "v2.0.0" in gto("show", "classifier#champion")


def gto(*arguments):
    done = subprocess.run([Path(sys.executable).with_name("gto"), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_gto_lists_versions_and_stages_also_where_persons_and_retrainings_have_decided(append_entry, append_decision):
    git("commit", "-q", "--allow-empty", "-m", "start")
    before = append_decision("nothing is there yet")
    assert "d" in gto("show", "classifier")
    (
        append_entry(1),
        append_entry(1, history.CHAMPION),
        append_decision("nothing to do"),
        append_entry(2),
        append_entry(2, history.REJECTED),
    )
    (
        append_entry(3),
        append_entry(3, history.APPROVED),
        append_entry(3, history.CHAMPION),
        append_decision("enough new rows"),
    )
    chain = history.read("classifier")
    assert len(chain.entries) == 10
    entries = gto("history", "classifier", "--json")
    for entry in chain.entries:
        assert entry.tag in entries
    gto_stages = json.loads(gto("show", "classifier", "--json"))
    stages = {each["version"]: {stage["stage"] for stage in each["stages"]} for each in gto_stages}
    assert stages["v3.0.0"] == {"approved", "champion", "decided"}
    assert stages["v2.0.0"] == {"rejected"}
    assert before.commit in stages
    assert gto("show")


def test_a_decision_names_the_champion_and_its_inputs_and_each_is_an_entry_of_its_own(
    append_entry, append_decision, registry_heads
):
    git("commit", "-q", "--allow-empty", "-m", "start")
    first = append_decision("nothing is there yet", Rows="0")
    assert (first.tag, first.version, first.commit) == ("classifier#decided#1", 0, git("rev-parse", "HEAD").strip())
    append_entry(1), append_entry(1, history.CHAMPION)
    twice = [append_decision("nothing to do", **{"New-rows": "3 of 100 asked"}) for _ in range(2)]
    assert [(entry.number, entry.version) for entry in twice] == [(4, 1), (5, 1)]
    assert twice[0].facts["New-rows"] == "3 of 100 asked"
    chain = history.read("classifier")
    assert chain.champion().number == 3
    assert chain.aliases(1) == ["champion"]
    assert chain.served(1)[0]["to"] is None
    assert wrong(chain, registry_heads["classifier"]) == []


@pytest.mark.parametrize("name", ["rows", "New rows", "Entry", "Rows:", "Rows1"])
def test_a_fact_whose_name_no_reader_would_find_is_refused(append_entry, append_decision, name):
    append_entry(1)
    with pytest.raises(Broken, match="cannot be a fact of a history entry"):
        append_decision("why", **{name: "1"})
    assert len(history.read("classifier").entries) == 1


def test_an_answer_is_written_once_and_a_rejected_version_is_no_challenger(append_entry):
    append_entry(1), append_entry(1, history.CHAMPION), append_entry(2)
    assert history.read("classifier").aliases(2) == ["challenger"]
    first, second = append_entry(2, history.REJECTED), append_entry(2, history.REJECTED)
    assert first == second
    chain = history.read("classifier")
    assert chain.answer(2) == first
    assert chain.answer(1) is None
    assert chain.aliases(2) == []


def test_who_holds_the_lock_may_write_and_others_wait(append_entry, monkeypatch):
    monkeypatch.setattr(history, "PATIENCE", 0.2)
    failed = []

    def other():
        try:
            append_entry(2)
        except Broken as error:
            failed.append(str(error))

    with history.writing():
        append_entry(1)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert "another writer has held" in failed[0]
    assert append_entry(2).number == 2


def test_writing_the_same_event_again_adds_nothing_but_mends_the_registry(append_entry, registry_heads):
    append_entry(1), append_entry(1, history.CHAMPION)
    registry_heads.clear()
    append_entry(1, history.CHAMPION)
    append_entry(1)
    assert len(history.read("classifier").entries) == 2
    assert wrong(history.read("classifier"), registry_heads["classifier"]) == []


def test_a_version_may_become_champion_again(append_entry, registry_heads):
    for version, event in [(1, "registered"), (1, "champion"), (2, "registered"), (2, "champion"), (1, "champion")]:
        append_entry(version, event)
    chain = history.read("classifier")
    assert [entry.version for entry in chain.entries if entry.event == "champion"] == [1, 2, 1]
    assert len(chain.served(1)) == 2
    assert wrong(chain, registry_heads["classifier"]) == []


def test_writers_at_the_same_time_lose_nothing(append_entry, registry_heads):
    facts = {"Record": append_entry(1).commit, **FACTS}
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


def test_models_have_histories_of_their_own(append_entry, registry_heads):
    append_entry(1), append_entry(1, model="classifier-2"), append_entry(2)
    assert history.names() == ["classifier", "classifier-2"]
    assert [entry.version for entry in history.read("classifier").entries] == [1, 2]
    assert wrong(history.read("classifier-2"), registry_heads["classifier-2"]) == []


def test_entries_are_seconds_apart_since_gto_orders_them_by_time(append_entry):
    first, second = append_entry(1, at=False), append_entry(1, history.CHAMPION, at=False)
    assert datetime.fromisoformat(second.at) > datetime.fromisoformat(first.at)
