"""Commands for auditors: where a version comes from, and who learned from a row."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from flows.cli.output import as_json, print_json, print_table
from flows.project import environment
from retune.errors import Refused, WrongUse


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

    found = verify.model(versions.resolve(model))
    if html:
        from retune.documents.lineage_page import page

        now = datetime.now(UTC).isoformat(timespec="seconds")
        entries = history.read(found.name).entries
        told = page(found.record, f"{found.name}/{found.version}", found.links, entries, now)
        try:
            html.parent.mkdir(parents=True, exist_ok=True)
            html.write_text(told, "utf-8")
        except OSError as error:
            raise WrongUse(f"--html {html} cannot be written: {error.strerror}") from None
        click.echo(f"written: {html}", err=True)
    if json_:
        print_json(
            {
                "name": found.name,
                "version": found.version,
                "ok": found.ok,
                "links": [asdict(link) for link in found.links],
                "record": found.record,
            }
        )
    else:
        _print_record(found.record, f"{found.name}/{found.version}")
        print_checks(found.links)
    if not found.ok:
        sys.exit(Refused.exit_code)


def _print_record(record: dict[str, Any], name: str) -> None:
    from retune.evaluation import task_metrics
    from retune.lineage.record import reasons_of

    data, training = record["data"], record["training"]
    sources = ", ".join(
        f"{source} ({told['kept']} of {told['received']} rows, {told['licence']}, collected: {told['collected']})"
        for source, told in data["sources"].items()
    )
    sides = ", ".join(f"{side} {told['rows']}" for side, told in data["sides"].items())
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
            ("gate", f"{record['gate']['decision']}: {'; '.join(reasons_of(record))}"),
        ]
    )


def _start(training: dict[str, Any]) -> str:
    begins = training.get("start", {"from": "base"})
    if begins["from"] == "base":
        return "the base"
    return f"{begins['from']}, with {begins['new_rows']} new rows and {begins['old_rows']} of those that it had learned"


def print_checks(links: Sequence[Any]) -> None:
    for link in links:
        told = _short(link.found) if link.ok else f"recorded {link.expected}, found {link.found}"
        click.echo(f"{'✓' if link.ok else '✗'} {link.name:44} {told}")
    wrong = [link for link in links if not link.ok]
    if wrong:
        click.echo(f"{len(wrong)} of {len(links)} links FAIL: {', '.join(link.name for link in wrong[:10])}")
    else:
        click.echo(f"all {len(links)} links hold, each computed again now")


def _short(found: str) -> str:
    return found if len(found) <= 40 else f"{found[:16]}…"


@lineage.command(epilog="Example: retune lineage data data/raw")
@click.argument("target", metavar="PATH|HASH")
@as_json
def data(target: str, json_: bool) -> None:
    """List the versions made from these bytes.

    With the split that held them, and when each version was champion. TARGET is a path or a hash.
    """
    environment.activate_project()
    from tasks.trace import verify

    found = verify.data(target)
    versions = [{key: value for key, value in asdict(seen).items() if key != "content"} for seen in found.versions]
    if json_:
        print_json({"hash": found.asked, "versions": versions, "gone": found.gone})
    else:
        print_readers(found.versions)
    verify.require_whole_history()
    if found.gone:
        raise Refused(
            f"bytes gone, hashes kept: nobody can say whether the raw data of {', '.join(found.gone)} held {target}; "
            "`dvc pull` may bring it back"
        )
    if not found.versions:
        raise Refused(f"no version was trained, validated or tested on {found.asked}")


@lineage.command(epilog="Example: retune lineage row T-1017")
@click.argument("name", metavar="ID")
@as_json
def row(name: str, json_: bool) -> None:
    """List the versions that saw this row.

    With its split, when each version served, and the row as it was.
    """
    environment.activate_project()
    from tasks.trace import verify

    found = verify.row(name)
    if json_:
        told = {"row": found.asked, "versions": [asdict(seen) for seen in found.versions]}
        print_json({**told, "free": found.free, "gone": found.gone})
    else:
        print_readers(found.versions)
        for text in dict.fromkeys(str(seen.content["text"]) for seen in found.versions if seen.content):
            click.echo(f"the row as it was: {text[:500]}")
        if found.free:
            click.echo(f"free of it: {', '.join(found.free)}")
    verify.require_whole_history()
    if found.gone:
        raise Refused(
            f"bytes gone, hashes kept: nobody can say whether {', '.join(found.gone)} saw {name}; "
            "`dvc pull` may bring the splits back"
        )
    if not found.versions:
        raise Refused(f"no version saw a row {name!r}")


def print_readers(versions: Sequence[Any]) -> None:
    if versions:
        rows: list[tuple[str, ...]] = [("version", "side", "aliases", "served as champion")]
        for seen in versions:
            served = ", ".join(f"{each['from']} to {each['to'] or 'now'}" for each in seen.served) or "never"
            side = f"{seen.side}, via {seen.via}" if seen.via else seen.side
            rows.append((f"{seen.name}/{seen.version}", side, " ".join(seen.aliases), served))
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
    from tasks.trace import verify

    pair = [versions.resolve(reference) for reference in (one, other)]
    found = verify.diff(*(register.record_of_version(version) for version in pair))
    if json_:
        print_json({"from": str(pair[0]), "to": str(pair[1]), **found})
        return
    for kind, ids in found["rows"].items():
        some = ", ".join(_change(name, ids) for name in list(ids)[:5])
        click.echo(f"rows {kind:12}{len(ids):6}  {some}{' …' if len(ids) > 5 else ''}")
    for part in ("params", "code", "base", "start", "environment", "metrics"):
        for key, change in found[part].items():
            click.echo(f"{part:12} {key}: {change['before']} → {change['after']}")


def _change(name: str, ids: Any) -> str:
    return f"{name} ({ids[name]['before']} → {ids[name]['after']})" if isinstance(ids, dict) else str(name)
