"""A history in a repository of git."""

from datetime import UTC, datetime

import pytest

from retune.lineage import history
from tests.support.histories import FACTS, git


@pytest.fixture
def registry_heads():
    """What the registry would keep: name -> number and hash of the last entry."""
    return {}


@pytest.fixture
def anchor(registry_heads):
    """As the registry does it."""

    def keep(chain):
        history.must_hold(chain, registry_heads.get(chain.model))
        if chain.entries:
            registry_heads[chain.model] = chain.head

    return keep


@pytest.fixture
def append_entry(git_repository, anchor):
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
def three_versions(append_entry):
    """Version 1 and its promotion, version 2 and its promotion, version 3, which was held."""
    (
        append_entry(1),
        append_entry(1, history.CHAMPION),
        append_entry(2),
        append_entry(2, history.CHAMPION),
        append_entry(3),
    )
    return history.read("classifier")


@pytest.fixture
def append_decision(anchor, append_entry):
    clock = iter(range(1_800_000_000, 1_900_000_000, 60))

    def decide(why, **facts):
        at = datetime.fromtimestamp(next(clock), UTC)
        return history.append_decision("classifier", [why], facts, anchor, at)

    return decide
