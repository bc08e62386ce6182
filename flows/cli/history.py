"""Commands for auditors: history, verify, reproduce."""

import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from flows.cli.lineage import print_checks
from flows.cli.output import (
    as_json,
    cut,
    print_json,
    print_wrapped,
    width,
)
from flows.project import environment
from retune.errors import Refused, WrongUse


@click.command(epilog="Example: retune history classifier --at 2026-11-25")
@click.argument("name", required=False)
@click.option(
    "--at",
    metavar="TIME",
    help="Print only the champion of that time: ISO 8601, UTC by default; a day means its start.",
)
@click.option("--verify", "verify_", is_flag=True, help="Check the chain against itself and against the registry.")
@as_json
def history(name: str | None, at: str | None, verify_: bool, json_: bool) -> None:
    """Show who became champion when, why and by whom.

    Also on which evidence, and what retrainings decided.
    """
    environment.activate_project()
    from retune.lineage import history as chains
    from retune.registry import versions
    from tasks.trace import verify

    if verify_ and at is not None:
        raise WrongUse("--verify checks the whole history: run it without --at")
    names = chains.names() if name is None else [name]
    if verify_:
        recorded_names = {*chains.names(), *versions.heads(), *(version.name for version in versions.versions())}
        selected = sorted(recorded_names) if name is None else [each for each in names if each in recorded_names]
        if not selected:
            raise Refused(f"{name or 'no model'} has neither a history nor a version, so there is nothing to verify")
        _answer_checks([link for each in selected for link in verify.chain(each)], json_)
        return
    histories = [chains.read(each) for each in names]
    if not any(chain.entries or chain.damaged for chain in histories):
        raise Refused(f"{name or 'no model'} has no history: `retune run` starts one")
    if at is not None:
        _print_champions(histories, _moment(at), json_, name is not None)
        return
    entries = [entry for chain in histories for entry in chain.entries]
    if json_:
        print_json([_entry(entry) for entry in entries])
    else:
        print_entries(entries)
    damaged = {tag: why for chain in histories for tag, why in chain.damaged.items()}
    if damaged:
        raise Refused("; ".join(f"{tag} {why}" for tag, why in damaged.items()))
    verify.require_whole_history()


def print_entries(entries: Sequence[Any]) -> None:
    """A line for each entry, and the reasons below it, in four lines at most; --json has all of them."""
    whats = [_what(entry) for entry in entries]
    room = max(map(len, whats), default=4)
    click.echo(f"{'entry':>5}  {'when (UTC)':19}  {'what':{room}}  by")
    for entry, what in zip(entries, whats, strict=True):
        head = f"{entry.number:5}  {entry.at[:10]} {entry.at[11:19]}  {what:{room}}  "
        click.echo(head + cut(entry.by, width() - len(head)))
        evidence = [f"evidence {entry.evidence[:12]}"] if entry.evidence else []
        print_wrapped("; ".join([*evidence, *entry.why]), indent=7, lines=4)


def _what(entry: Any) -> str:
    from retune.lineage.history import TITLES

    if facts := entry.retraining:  # then the version is the champion of that time
        return f"{entry.model} {entry.event}: {facts.outcome}"
    if entry.event == "rollout":
        return f"{entry.version_name} rollout: {entry.move}"
    what = f"{entry.version_name if entry.version else entry.model} {TITLES[entry.event]}"
    return what if entry.how in (None, "promoted") else f"{what} ({entry.how})"


def _entry(entry: Any) -> dict[str, Any]:
    return {**asdict(entry), "evidence": entry.evidence}


def _moment(at: str) -> datetime:
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        raise WrongUse(f"--at is {at!r}: write a time such as 2026-11-25 or 2026-11-25T14:30:00+00:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _print_champions(chains: Sequence[Any], at: datetime, json_: bool, one: bool) -> None:
    champions = [(chain.model, chain.champion(at)) for chain in chains]
    answers = [
        {
            "name": name,
            "at": at.isoformat(),
            "champion": f"{name}/{entry.version}" if entry else None,
            "entry": _entry(entry) if entry else None,
        }
        for name, entry in champions
    ]
    if json_:
        print_json(answers[0] if one else answers)
    else:
        for each in answers:
            click.echo(f"{each['name']} at {each['at']}: {each['champion'] or 'no champion'}")
    from tasks.trace import verify

    verify.require_whole_history()
    if not any(entry for _, entry in champions):
        sys.exit(Refused.exit_code)


def _answer_checks(links: Sequence[Any], json_: bool) -> None:
    """Print the checks, and exit with 1 if one failed."""
    ok = all(link.ok for link in links)
    if json_:
        print_json({"ok": ok, "links": [asdict(link) for link in links]})
    else:
        print_checks(links)
    if not ok:
        sys.exit(Refused.exit_code)


@click.command(epilog="Example: retune verify classifier@champion")
@click.argument("model", metavar="NAME/VERSION")
@as_json
def verify(model: str, json_: bool) -> None:
    """Verify every link of a version, and its history.

    Exit code 0 if all hold, 1 if one does not.
    """
    environment.activate_project()
    from retune.registry import versions
    from tasks.trace import verify

    version = versions.resolve(model)
    _answer_checks([*verify.model(version).links, *verify.chain(version.name)], json_)


@click.command(epilog="Example: retune reproduce classifier/1")
@click.argument("model", metavar="NAME/VERSION")
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    help="Empty folder to rebuild in, which stays; a scratch folder if not given.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 1),
    default=0.02,
    show_default=True,
    help="Largest difference in accuracy and macro-F1 where the weights cannot be bit-identical.",
)
@as_json
def reproduce(model: str, into: Path | None, tolerance: float, json_: bool) -> None:
    """Rebuild a version and compare it with its record.

    Works from the recorded commit and raw bytes, in an empty folder: the result has the same bits, or the same scores.
    """

    into = into.absolute() if into else None
    if math.isnan(tolerance):
        raise WrongUse("--tolerance is not a number: write one from 0 to 1")
    environment.activate_project()
    from flows.execution.reproduce import reproduce as rebuild
    from retune.registry import versions
    from tasks.register import register

    version = versions.resolve(model)
    record = register.record_of_version(version)
    with tempfile.TemporaryDirectory(prefix="retune-") as scratch:
        where = into or Path(scratch) / "rebuilt"
        rebuilt = rebuild(str(version), record, where, tolerance, lambda line: click.echo(line, err=True))
    if json_:
        links = [asdict(link) for link in rebuilt.compared]
        payload = {
            "ok": rebuilt.ok,
            "proved": rebuilt.proved,
            "environment": rebuilt.environment,
            "compared": links,
        }
        print_json({"name": version.name, "version": version.version, **payload})
    else:
        print_checks(rebuilt.compared)
        click.echo(f"{version}: proved {rebuilt.proved}. {rebuilt.environment}")
    if not rebuilt.ok:
        sys.exit(Refused.exit_code)
