"""What a person asks of a rollout: to begin, to pause, to go on, to end. Each is an entry of the history."""

from sqlalchemy import Engine

from retune.config import rollout as config
from retune.errors import Refused, WrongUse
from retune.lineage import history
from retune.lineage import record as records
from retune.lineage.record import reasons_of
from retune.registry import versions
from retune.registry.version import Version
from retune.serving import rollouts
from retune.serving.rollouts import Rollout
from retune.system import git
from tasks.rollout import journal

SHADOW = config.SHADOW


def steps(words: str) -> tuple[str | int, ...]:
    """Parse `shadow,1,5,25,50,100`. Raises WrongUse."""
    parts = [part.strip().removesuffix("%") for part in words.split(",")]
    if not all(part == SHADOW or (part.isascii() and part.isdigit()) for part in parts):
        raise WrongUse(f"--steps is {words!r}: write shadow and percentages, such as shadow,1,5,25,50,100")
    numbers: list[config.Step] = ["shadow" if part == SHADOW else int(part) for part in parts]
    try:
        return tuple(config.ascending(numbers))
    except ValueError as error:
        raise WrongUse(f"--steps is {words!r}: {error}") from None


def start(engine: Engine, version: Version, through: tuple[str | int, ...], metric: str, reason: str | None) -> Rollout:
    """Raises Refused for a version that may not take over, and while another rollout of the model is open."""
    champion = _champion_to_compare_with(version)
    person = git.identity()
    rollout = rollouts.begin(
        engine,
        version.name,
        (str(champion), str(version.version)),
        through,
        metric,
        reason or f"asked for by {person}",
        person,
    )
    journal.note(rollout, journal.START, [rollout.reason], {})
    return rollout


def _champion_to_compare_with(version: Version) -> int:
    chain = history.read(version.name)
    champion = chain.champion()
    if champion is None:
        raise Refused(f"{version.name} has no champion to take over from: `retune promote {version} --reason TEXT`")
    if champion.version == version.version:
        raise Refused(f"{version} is the champion already: there is nothing to roll out")
    if chain.registered(version.version) is None:
        raise Refused(f"{version} has no entry in the history: its run was cut off; run that again, it goes on there")
    gate = records.read(versions.version_folder(version) / records.FILE)["gate"]
    if gate["decision"] != "champion":
        raise Refused(f"{version} did not pass the gate: {reasons_of(gate)[-1]}")
    answer = chain.answer(version.version)
    if answer and answer.event == history.REJECTED:
        raise Refused(f"{version} was rejected by {answer.by}: {'; '.join(answer.why)}")
    return champion.version


def pause(engine: Engine, name: str, reason: str) -> Rollout:
    """It stays at its step; it is still rolled back if it is worse."""
    return _change(engine, name, rollouts.PAUSED, journal.PAUSE, reason, "is paused already")


def resume(engine: Engine, name: str, reason: str) -> Rollout:
    return _change(engine, name, rollouts.RUNNING, journal.RESUME, reason, "is not paused")


def abort(engine: Engine, name: str, reason: str) -> Rollout:
    """The champion answers everybody again."""
    return _change(engine, name, rollouts.ABORTED, journal.ABORT, reason, "")


def _change(engine: Engine, name: str, state: str, move: str, reason: str, already: str) -> Rollout:
    rollout = must_be_open(engine, name)
    if rollout.state == state:
        raise Refused(f"the rollout of {rollout.version} {already}")
    rollout = rollouts.change(engine, rollout, reason, state=state)
    journal.note(rollout, move, [reason], {})
    return rollout


def must_be_open(engine: Engine, name: str) -> Rollout:
    latest = rollouts.latest(engine, name)
    if latest and latest.is_open:
        return latest
    ending = f": the last one, of {latest.version}, was {latest.state}" if latest else ""
    raise Refused(f"no rollout of {name} is open{ending}. `retune rollout start {name}/VERSION` begins one")
