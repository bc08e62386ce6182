"""Versions in a registry and a history: registered ones, and one that waits for approval."""

import re

import pytest

from tasks.promote.gate_decision import promote
from tests.support.git_repo import init_repository
from tests.support.promotion import ASKED, SHIPPED, again, gate_facts


@pytest.fixture
def register_version(sqlite_registry, register_tiny, request):
    """Registers a version with a whole record; its first entry stands in the history and it was loaded again."""
    init_repository(sqlite_registry)
    name = re.sub(r"\W+", "-", request.node.name)[-80:].strip("-")
    return lambda **gate: register_tiny(name, **gate)


@pytest.fixture
def awaiting_approval(register_version):
    """The champion, and a version that waits for a person to say that it takes its place."""
    first = register_version()
    promote(first, gate_facts(), SHIPPED)
    second = register_version(champion=str(first))
    decision = promote(second, gate_facts(champion=str(first)), ASKED)
    assert (decision.promote, decision.awaiting) == (False, True)
    return again(first), again(second)
