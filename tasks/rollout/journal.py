"""The history entries of a rollout: each move of it, by whom, why and on which figures."""

import json
from collections.abc import Sequence
from typing import Any

from retune.errors import Refused
from retune.lineage import history
from retune.lineage.entry_facts import Fact
from retune.registry import versions
from retune.serving import rollouts
from retune.serving.rollouts import Rollout, in_words

START, ADVANCE, PAUSE, RESUME, ABORT = "start", "advance", "pause", "resume", "abort"
ROLL_BACK, COMPLETE = "roll back", "complete"
LAST_MOVE = {rollouts.ROLLED_BACK: ROLL_BACK, rollouts.ABORTED: ABORT, rollouts.COMPLETED: COMPLETE}


def note(rollout: Rollout, move: str, why: Sequence[str], figures: dict[str, Any]) -> history.Entry:
    """Write the entry of a move that the table of rollouts has; after a crash in between, the same call completes it.

    Raises Refused if the history does not have the version, or is not whole.
    """
    step = in_words(rollout.step)
    with history.writing():
        last = last_entry(rollout)
        if last and (last.move, last.facts.get(Fact.STEP)) == (move, step):
            return last
        registered = history.read(rollout.model).registered(int(rollout.challenger))
        if registered is None:
            raise Refused(f"{rollout.version} has no entry in the history of {rollout.model}")
        facts: dict[str, str] = {
            Fact.RECORD: registered.facts[Fact.RECORD],
            Fact.ROLLOUT: rollout.id,
            Fact.MOVE: move,
            Fact.STEP: step,
            Fact.RIVAL: rollout.rival,
            Fact.SALT: rollout.salt,
            Fact.FIGURES: json.dumps(figures, ensure_ascii=False),
        }
        return history.append(rollout.model, int(rollout.challenger), history.ROLLOUT, why, facts, versions.anchor)


def last_entry(rollout: Rollout) -> history.Entry | None:
    entries = reversed(history.read(rollout.model).entries)
    return next((entry for entry in entries if entry.facts.get(Fact.ROLLOUT) == rollout.id), None)


def catch_up(rollout: Rollout) -> history.Entry | None:
    """Write what a process that was killed after it had changed the table did not write any more. None if nothing."""
    last = last_entry(rollout)
    if rollout.is_open:
        if last is None:
            return note(rollout, START, [rollout.reason], {})
        is_behind = last.facts.get(Fact.STEP) != in_words(rollout.step)
        return note(rollout, ADVANCE, [rollout.reason], {}) if is_behind else None
    ending = LAST_MOVE[rollout.state]
    return None if last and last.move == ending else note(rollout, ending, [rollout.reason], {})
