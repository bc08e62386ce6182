"""The command that suppresses rows, and asks whether a version has forgotten them."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click

from flows.cli.lineage import print_readers
from flows.cli.output import as_json, in_words, print_json
from flows.project import environment
from retune.errors import Refused, WrongUse
from retune.system import git

NAMED = 20  # ids in a sentence


@click.command(epilog='Example: retune forget T-1017 --reason "erasure request"')
@click.argument("ids", nargs=-1, metavar="ID...")
@click.option(
    "--reason", metavar="TEXT", callback=in_words, help="Why; kept in data/suppressed.json, which git tracks."
)
@click.option("--check", "reference", metavar="NAME/VERSION", help="Forget nothing: test what this version does.")
@as_json
def forget(ids: tuple[str, ...], reason: str | None, reference: str | None, json_: bool) -> None:
    """Suppress rows: no later training learns from them.

    Says which versions learned from them, and which of those serves. --check says whether a version made since treats
    all forgotten rows like rows that it never saw; exit code 1 if it does not.
    """
    if reference:
        if ids or reason:
            raise WrongUse("--check forgets nothing: leave out the ids and --reason")
        _check(reference, json_)
        return
    if not ids or not reason:
        raise WrongUse("name the ids to forget, and --reason TEXT")
    environment.activate_project()
    from flows.execution import raw_data
    from retune.lineage import ancestry
    from tasks.forget import forget
    from tasks.trace import search, verify

    with environment.project_lock(environment.BRIEFLY):
        raw_data.require_merged()
        raw_data.require_followed()
        result = forget.forget(ids, reason, git.require_person(), datetime.now(UTC).isoformat(timespec="seconds"))
    cases, served_rows = _golden_cases(ids), _forget_served(ids)
    twins, answers = forget.copies(ids), [search.row(name) for name in ids]
    readers = {name: [asdict(each) for each in answer.versions] for name, answer in zip(ids, answers, strict=True)}
    sightings = [each for answer in answers for each in answer.versions]
    learned = sorted({f"{each.name}/{each.version}" for each in sightings if each.side in ancestry.LEARNED})
    serving = sorted({f"{each.name}/{each.version}" for each in sightings if "champion" in each.aliases})
    if json_:
        print_json(
            {
                "added": result.added,
                "known": result.known,
                "listed": result.listed,
                "rows": readers,
                "learned": learned,
                "serving": serving,
                "copies": twins,
                "golden": cases,
                "served": served_rows,
                "next": "retune run",
            }
        )
        return
    added = "1 row" if len(result.added) == 1 else f"{len(result.added)} rows"
    click.echo(f"{added} added, {len(result.known)} already on the list, which holds {result.listed}.")
    for name, answer in zip(ids, answers, strict=True):
        click.echo(f"{name}:" if answer.versions else f"{name}: no version saw it")
        print_readers(answer.versions)
    for name, others in twins.items():
        click.echo(f"these rows hold the same text as {name}: {', '.join(others)}. Forget them too if you mean them")
    _print_copies_elsewhere(cases, served_rows)
    click.echo(f"serving now: {', '.join(serving) or 'none of them'}. `retune run` makes a version without them.")
    verify.require_whole_history()


def _print_copies_elsewhere(cases: dict[str, tuple[str, ...]], served_rows: int | None) -> None:
    for name, names in cases.items():
        click.echo(
            f"these golden cases hold the text of {name}: {', '.join(names)}. Take their lines out of the file too, "
            "and write its new hash into evaluate.golden.sha256"
        )
    if served_rows:
        click.echo(f"rows in the log of what was served that held such a text, and hold it no more: {served_rows}")


def _golden_cases(ids: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """id -> the golden cases that hold its text. A file that cannot be read is named: it may hold one."""
    from retune.config import params
    from retune.errors import RetuneError
    from retune.evaluation import golden_cases
    from tasks.forget import forget

    try:
        return forget.golden_cases_of(ids, golden_cases.read(params.load().evaluate.golden))
    except RetuneError as error:
        click.echo(f"whether a golden case holds the text is not known: {error}", err=True)
        return {}


def _forget_served(ids: tuple[str, ...]) -> int | None:
    """How many rows of the log held such a text. A log that is away is named: it may hold one."""
    from retune.errors import RetuneError
    from tasks.forget import served

    try:
        return served.forget_served(ids)
    except RetuneError as error:
        click.echo(
            f"whether the log of what was served holds the text is not known: {error}. Run this again when it is there",
            err=True,
        )
        return None


def _check(reference: str, json_: bool) -> None:
    environment.activate_project()
    from tasks.forget import check

    result = check.check(reference)
    if json_:
        print_json(asdict(result))
    else:
        click.echo(f"{result.version}: {_verdict(result)}")
    if not result.passed:
        raise Refused(f"{result.version} does not treat forgotten rows like rows that it never saw")


def _verdict(result: Any) -> str:
    counts = f"{result.forgotten_rows} forgotten rows beside {result.test_rows} test rows"
    if result.learned:
        return f"it learned from {len(result.learned)} rows on the list: {', '.join(result.learned[:NAMED])}"
    if result.auc is None:
        return f"too few rows to say, {counts}"
    area = f"AUC {result.auc.value:.3f} [{result.auc.low:.3f}, {result.auc.high:.3f}], 0.5 is no difference"
    return f"forgotten rows are {result.verdict} ones: {area}, {counts}"
