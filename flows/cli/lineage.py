"""Commands for auditors: where a version comes from, and who learned from a row."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flows.cli.output import as_json, print_json, print_table
from flows.project import environment
from retune.errors import Refused, WrongUse

if TYPE_CHECKING:
    from retune.lineage.record import Record, Training


@click.group()
def lineage() -> None:
    """Trace a version, data or a row, or compare versions."""


@lineage.command(epilog="Example: retune lineage model classifier@champion --html lineage.html")
@click.argument("model", metavar="NAME@ALIAS|NAME/VERSION")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write the page for people here too.")
@as_json
def model(model: str, html: Path | None, json_: bool) -> None:
    """Trace a version back to its data, code and parameters.

    Computes each link again now. Exit code 1 if one fails.
    """
    html = html.absolute() if html else None
    environment.activate_project()
    from retune.lineage import history
    from retune.registry import versions
    from tasks.trace import verify

    trace = verify.model(versions.resolve(model))
    if html:
        from retune.documents.lineage_page import page

        now = datetime.now(UTC).isoformat(timespec="seconds")
        entries = history.read(trace.name).entries
        page_html = page(trace.record, f"{trace.name}/{trace.version}", trace.links, entries, now)
        try:
            html.parent.mkdir(parents=True, exist_ok=True)
            html.write_text(page_html, "utf-8")
        except OSError as error:
            raise WrongUse(f"--html {html} cannot be written: {error.strerror}") from None
        click.echo(f"written: {html}", err=True)
    if json_:
        print_json(
            {
                "name": trace.name,
                "version": trace.version,
                "ok": trace.ok,
                "links": [asdict(link) for link in trace.links],
                "record": trace.record,
            }
        )
    else:
        _print_record(trace.record, f"{trace.name}/{trace.version}")
        print_checks(trace.links)
    if not trace.ok:
        sys.exit(Refused.exit_code)


def _tell_record(record: "Record", name: str) -> None:
    from retune.evaluation import task_metrics
    from retune.lineage.record import reasons_of

    data, training = record["data"], record["training"]
    sources = ", ".join(
        f"{source} ({facts['kept']} of {facts['received']} rows, {facts['licence']}, collected: {facts['collected']})"
        for source, facts in data["sources"].items()
    )
    sides = ", ".join(f"{side} {facts['rows']}" for side, facts in data["sides"].items())
    reasons = ", ".join(f"{reason} {count}" for reason, count in data["rejected"]["reasons"].items()) or "none"
    metrics = task_metrics.of(task_metrics.task_of(record["params"]))
    title = metrics.titles[metrics.primary]
    score = record["scores"]["candidate"][metrics.primary]
    print_table(
        [
            (name, f"{training['method']} on {record['base']['name']}, {record['created']}"),
            ("started from", _start(training)),
            ("started by", f"{record['started']['by']}: {record['started']['command']}"),
            ("because", "; ".join(record["started"]["why"]) or "nothing had changed"),
            ("sources", sources),
            ("rejected", reasons),
            ("validation", f"{data['validation']['verdict']}, {data['validation']['expectations']} expectations"),
            ("sides", sides),
            ("code", f"{record['code']['commit']}{', with changes' if record['code']['dirty'] else ''}"),
            (title, f"{score['value']:.4f} [{score['low']:.3f}, {score['high']:.3f}] on {score['n']} rows"),
            ("gate", f"{record['gate']['decision']}: {'; '.join(reasons_of(record['gate']))}"),
        ]
    )


def _start(training: "Training") -> str:
    begins = training.get("start", {"from": "base"})
    if begins["from"] == "base":
        return "the base"
    return f"{begins['from']}, with {begins['new_rows']} new rows and {begins['old_rows']} of those that it had learned"


def print_checks(links: Sequence[Any]) -> None:
    for link in links:
        outcome = _short(link.found) if link.ok else f"recorded {link.expected}, found {link.found}"
        click.echo(f"{'✓' if link.ok else '✗'} {link.name:44} {outcome}")
    wrong = [link for link in links if not link.ok]
    if wrong:
        click.echo(f"{len(wrong)} of {len(links)} links FAIL: {', '.join(link.name for link in wrong[:10])}")
    else:
        click.echo(f"all {len(links)} links hold, each computed again now")


def _short(value: str) -> str:
    return value if len(value) <= 40 else f"{value[:16]}…"


@lineage.command(epilog="Example: retune lineage data data/raw")
@click.argument("target", metavar="PATH|HASH")
@as_json
def data(target: str, json_: bool) -> None:
    """List the versions made from these bytes.

    With the split that held them, and when each version was champion. TARGET is a path or a hash.
    """
    environment.activate_project()
    from tasks.trace import search, verify

    found = search.data(target)
    versions = [{key: value for key, value in asdict(seen).items() if key != "content"} for seen in found.versions]
    if json_:
        print_json({"hash": found.target, "versions": versions, "gone": found.gone})
    else:
        print_readers(answer.versions)
    verify.require_whole_history()
    if answer.gone:
        raise Refused(
            f"bytes gone, hashes kept: nobody can say whether the raw data of {', '.join(answer.gone)} held {target}; "
            "`dvc pull` may bring it back"
        )
    if not found.versions:
        raise Refused(f"no version was trained, validated or tested on {found.target}")


@lineage.command(epilog="Example: retune lineage row T-1017")
@click.argument("name", metavar="ID")
@as_json
def row(name: str, json_: bool) -> None:
    """List the versions that saw this row.

    With its split, when each version served, and the row as it was.
    """
    environment.activate_project()
    from tasks.trace import search, verify

    found = search.row(name)
    if json_:
        told = {"row": found.target, "versions": [asdict(seen) for seen in found.versions]}
        print_json({**told, "free": found.free, "gone": found.gone})
    else:
        print_readers(answer.versions)
        for text in dict.fromkeys(str(reader.content["text"]) for reader in answer.versions if reader.content):
            click.echo(f"the row as it was: {text[:500]}")
        if answer.free:
            click.echo(f"free of it: {', '.join(answer.free)}")
    verify.require_whole_history()
    if answer.gone:
        raise Refused(
            f"bytes gone, hashes kept: nobody can say whether {', '.join(answer.gone)} saw {name}; "
            "`dvc pull` may bring the splits back"
        )
    if not answer.versions:
        raise Refused(f"no version saw a row {name!r}")


def print_readers(versions: Sequence[Any]) -> None:
    if versions:
        rows: list[tuple[str, ...]] = [("version", "side", "aliases", "served as champion")]
        for reader in versions:
            served = ", ".join(f"{each['from']} to {each['to'] or 'now'}" for each in reader.served) or "never"
            side = f"{reader.side}, via {reader.via}" if reader.via else reader.side
            rows.append((f"{reader.name}/{reader.version}", side, " ".join(reader.aliases), served))
        print_table(rows)


@lineage.command(epilog="Example: retune lineage diff classifier/1 classifier/2")
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
@as_json
def diff(one: str, other: str, json_: bool) -> None:
    """Show what differs between two versions.

    Rows, parameters, code, base and metrics.
    """
    environment.activate_project()
    from retune.registry import versions
    from tasks.register import register
    from tasks.trace import diff

    pair = [versions.resolve(reference) for reference in (one, other)]
    found = diff.diff(*(register.record_of_version(version) for version in pair))
    if json_:
        print_json({"from": str(pair[0]), "to": str(pair[1]), **differences})
        return
    for kind, ids in differences["rows"].items():
        some = ", ".join(_change(name, ids) for name in list(ids)[:5])
        click.echo(f"rows {kind:12}{len(ids):6}  {some}{' …' if len(ids) > 5 else ''}")
    for part in ("params", "code", "base", "start", "environment", "metrics"):
        for key, change in differences[part].items():
            click.echo(f"{part:12} {key}: {change['before']} → {change['after']}")


def _change(name: str, ids: Any) -> str:
    return f"{name} ({ids[name]['before']} → {ids[name]['after']})" if isinstance(ids, dict) else str(name)


@click.command()
@click.argument("name", required=False)
@click.option(
    "--at", metavar="TIME", help="Only say who was champion then: ISO 8601, UTC if it says none; a day means its start."
)
@click.option("--verify", "verify_", is_flag=True, help="Check the chain, and what the registry says beside it.")
@as_json
def history(name: str | None, at: str | None, verify_: bool, json_: bool) -> None:
    """Who became champion when, why, by whom, on which evidence, and what retrainings decided."""
    environment.activate_project()
    from retune.lineage import history as chains
    from retune.registry import versions
    from tasks.trace import verify

    if verify_ and at is not None:
        raise WrongUse("--verify checks the whole history: leave --at out")
    names = chains.names() if name is None else [name]
    if verify_:
        known = {*chains.names(), *versions.heads(), *(version.name for version in versions.versions())}
        wanted = sorted(known) if name is None else [each for each in names if each in known]
        if not wanted:
            raise Refused(f"{name or 'no model'} has neither a history nor a version: there is nothing to verify")
        _answer([link for each in wanted for link in verify.chain(each)], json_)
        return
    told = [chains.read(each) for each in names]
    if not any(chain.entries or chain.damaged for chain in told):
        raise Refused(f"{name or 'no model'} has no history: `retune run` begins one")
    if at is not None:
        _tell_champions(told, _moment(at), json_, name is not None)
        return
    entries = [entry for chain in told for entry in chain.entries]
    if json_:
        print_json([_entry(entry) for entry in entries])
    else:
        _tell_entries(entries)
    damaged = {tag: why for chain in told for tag, why in chain.damaged.items()}
    if damaged:
        raise Refused("; ".join(f"{tag} {why}" for tag, why in damaged.items()))
    verify.require_whole_history()


def _tell_entries(entries: Sequence[Any]) -> None:
    """A line for each, and below it why, in four lines at most; --json has all of it."""
    whats = [_what(entry) for entry in entries]
    room = max(map(len, whats), default=4)
    click.echo(f"{'entry':>5}  {'when (UTC)':19}  {'what':{room}}  by")
    for entry, what in zip(entries, whats, strict=True):
        head = f"{entry.number:5}  {entry.at[:10]} {entry.at[11:19]}  {what:{room}}  "
        click.echo(head + cut(entry.by, width() - len(head)))
        evidence = [f"evidence {entry.facts['Evidence'][:12]}"] if "Evidence" in entry.facts else []
        print_wrapped("; ".join([*evidence, *entry.why]), indent=7, lines=4)


def _what(entry: Any) -> str:
    how = entry.facts.get("How", "promoted")
    who = f"{entry.model}/{entry.version}" if entry.version else entry.model
    if decision := entry.facts.get("Decision"):  # of a retraining, whose version is the champion of that time
        return f"{entry.model} {entry.event}: {decision}"
    return f"{who} {entry.event}" if how == "promoted" else f"{who} {entry.event} ({how})"


def _entry(entry: Any) -> dict[str, Any]:
    return {**asdict(entry), "evidence": entry.facts.get("Evidence")}


def _moment(at: str) -> datetime:
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        raise WrongUse(f"--at is {at!r}: write a time such as 2026-11-25 or 2026-11-25T14:30:00+00:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _tell_champions(chains: Sequence[Any], at: datetime, json_: bool, one: bool) -> None:
    found = [(chain.model, chain.champion(at)) for chain in chains]
    told = [
        {
            "name": name,
            "at": at.isoformat(),
            "champion": f"{name}/{entry.version}" if entry else None,
            "entry": _entry(entry) if entry else None,
        }
        for name, entry in found
    ]
    if json_:
        print_json(told[0] if one else told)
    else:
        for each in told:
            click.echo(f"{each['name']} at {each['at']}: {each['champion'] or 'no champion'}")
    from tasks.trace import verify

    verify.require_whole_history()
    if not any(entry for _, entry in found):
        sys.exit(Refused.exit_code)


def _answer(links: Sequence[Any], json_: bool) -> None:
    """Links as yes or no."""
    ok = all(link.ok for link in links)
    if json_:
        print_json({"ok": ok, "links": [asdict(link) for link in links]})
    else:
        _tell_links(links)
    if not ok:
        sys.exit(Refused.exit_code)


@click.command()
@click.argument("model", metavar="NAME/VERSION")
@as_json
def verify(model: str, json_: bool) -> None:
    """Yes or no: every link of the version and the whole history of its model hold."""
    environment.activate_project()
    from retune.registry import versions
    from tasks.trace import verify

    version = versions.resolve(model)
    _answer([*verify.model(version).links, *verify.chain(version.name)], json_)


@click.command()
@click.argument("model", metavar="NAME/VERSION")
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    help="Empty folder to rebuild in; kept. Else a scratch one.",
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
    """Rebuild a version from its recorded commit and raw bytes, and compare: the same bits, or the same scores."""
    import tempfile

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
        found = rebuild(str(version), record, where, tolerance, lambda line: click.echo(line, err=True))
    if json_:
        links = [asdict(link) for link in found.compared]
        told = {"ok": found.ok, "proved": found.proved, "environment": found.environment, "compared": links}
        print_json({"name": version.name, "version": version.version, **told})
    else:
        _tell_links(found.compared)
        click.echo(f"{version}: proved {found.proved}. {found.environment}")
    if not found.ok:
        sys.exit(Refused.exit_code)


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@because
@as_json
def forget(ids: tuple[str, ...], reason: str, json_: bool) -> None:
    """No model learns from these rows from the next run on. Says which have, and which of them serves."""
    environment.activate_project()
    from tasks import forget
    from tasks.trace import search, verify

    with environment.project_lock(environment.BRIEFLY):
        done = forget.forget(ids, reason, git.require_person(), datetime.now(UTC).isoformat(timespec="seconds"))
    twins, answers = forget.copies(ids), [search.row(name) for name in ids]
    seen = {name: [asdict(each) for each in answer.versions] for name, answer in zip(ids, answers, strict=True)}
    learned = sorted({f"{each.name}/{each.version}" for answer in answers for each in answer.versions})
    serving = sorted(
        {f"{each.name}/{each.version}" for answer in answers for each in answer.versions if "champion" in each.aliases}
    )
    if json_:
        print_json(
            {
                "added": done.added,
                "known": done.known,
                "listed": done.listed,
                "rows": seen,
                "learned": learned,
                "serving": serving,
                "copies": twins,
                "next": "retune run",
            }
        )
        return
    click.echo(f"{len(done.added)} rows put on the list, {len(done.known)} there already; it holds {done.listed}.")
    for name, answer in zip(ids, answers, strict=True):
        click.echo(f"{name}:" if answer.versions else f"{name}: no version saw it")
        _tell_seen(answer.versions)
    for name, others in twins.items():
        click.echo(f"the same words as {name} also stand in {', '.join(others)}: forget these too if they are meant")
    click.echo(
        f"serving now: {', '.join(serving) or 'none of them'}. `retune run` makes a version that is free of them."
    )
    verify.require_whole_history()


COMMANDS = (lineage, history, verify, reproduce, forget)
