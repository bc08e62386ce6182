"""Against a real registry and a real history in git."""

import subprocess

import pytest

from tasks.core import history, registry, sums
from tasks.core.gate import Decision
from tasks.promote import decided, promote


def record(decision="champion", champion=None):
    """As much of a record as the gate needs."""
    rivals = [{"reason": "beats the base"}, {"reason": "beats the champion"}]
    return {"gate": {"decision": decision, "champion": champion, "rivals": rivals}}


REASONS = ("beats the base", "beats the champion")


@pytest.fixture
def make(store, tmp_path, request):
    """Registers a version whose first entry stands in the history."""
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", "commit", "-q", "--allow-empty", "-m", "record"], check=True, env=AUTHOR)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    (tmp_path / "MLmodel").write_text("{}")
    sums.write(tmp_path)
    name = request.node.name.replace("[", "-").replace("]", "")

    def one():
        with registry.run(name, "run", {}) as run_id:
            made = registry.add_version(name, run_id, tmp_path, {"fingerprint": "f"})
        history.append(name, made.version, history.REGISTERED, ["why"], {"Record": commit}, registry.anchor)
        registry.set_alias(made, registry.CHALLENGER)
        return again(made)

    return one


AUTHOR = {
    "PATH": "/usr/bin:/bin",
    **{f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


def again(version):
    return registry.find(version.name, version=version.version)


def crowned(version):
    return [entry.version for entry in history.read(version.name).entries if entry.event == history.CHAMPION]


def test_a_promoted_version_is_champion_and_challenger_no_more(make):
    version = make()
    assert decided(version) is None
    for _ in range(2):  # a crash in between repeats it
        assert promote(version, record()).promote
    assert again(version).aliases == ("champion",)
    assert decided(again(version)) == Decision(True, REASONS)
    assert crowned(version) == [1]
    assert registry.heads()[version.name] == history.read(version.name).last.head


def test_a_held_version_stays_challenger_and_remembers_why(make):
    version = make()
    promote(version, record("held"))
    assert again(version).aliases == ("challenger",)
    assert decided(again(version)) == Decision(False, REASONS)
    assert crowned(version) == []


def test_a_crash_between_the_history_and_the_alias_is_carried_on(make, monkeypatch):
    version = make()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(registry, "set_alias", interrupted)
        promote(version, record())
    assert (again(version).aliases, crowned(version)) == (("challenger",), [1])
    promote(version, record())
    assert (again(version).aliases, crowned(version)) == (("champion",), [1])


def interrupted(*_):
    raise KeyboardInterrupt


def test_nobody_is_promoted_over_a_champion_that_he_was_not_compared_with(make):
    first, second, third = make(), make(), make()
    promote(first, record())
    promote(second, record(champion=str(first)))
    held = promote(third, record(champion=str(first)))
    assert not held.promote
    assert f"the champion is {second} now, not {first}" in held.reasons[-1]
    assert registry.champion(first.name).version == second.version
    assert crowned(first) == [1, 2]
