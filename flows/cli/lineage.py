"""Commands for auditors: the origin of a version, and the versions that learned from a row."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flows.cli.groups import StrictGroup
from flows.cli.output import as_json, print_json, print_table
from flows.project import environment
from retune.errors import Refused, RetuneError, WrongUse

if TYPE_CHECKING:
    from retune.lineage.record import Record, Training
    from tasks.trace.search import SearchResult

FIRST_LINKS = 20


@click.group(cls=StrictGroup)
def lineage() -> None:
    """Trace versions, data, rows and requests, or compare two."""


@lineage.command(epilog="Example: retune lineage model classifier@champion --html lineage.html")
@click.argument("model", metavar="NAME@ALIAS|NAME/VERSION")
@click.option(
    "--html", type=click.Path(dir_okay=False, path_type=Path), help="Write the lineage page to this file too."
)
@click.option("--all", "all_", is_flag=True, help="Print every link, not only the first ones and those that fail.")
@as_json
def model(model: str, html: Path | None, all_: bool, json_: bool) -> None:
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
        print_checks(trace.links, None if all_ else FIRST_LINKS)
    if not trace.ok:
        sys.exit(Refused.exit_code)


def _print_record(record: "Record", name: str) -> None:
    from retune.documents.record_facts import with_unreadable
    from retune.evaluation import task_metrics
    from retune.lineage.record import reasons_of

    data, training = with_unreadable(record["data"]), record["training"]
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
            ("reason", "; ".join(record["started"]["why"]) or "nothing had changed"),
            ("sources", sources),
            ("rejected", reasons),
            ("validation", f"{data['validation']['verdict']}, {data['validation']['expectations']} expectations"),
            ("splits", sides),
            ("code", f"{record['code']['commit']}{', with changes' if record['code']['dirty'] else ''}"),
            (title, f"{score['value']:.4f} [{score['low']:.3f}, {score['high']:.3f}] on {score['n']} rows"),
            ("gate", f"{record['gate']['decision']}: {'; '.join(reasons_of(record['gate']))}"),
        ]
    )


def _start(training: "Training") -> str:
    begins = training.get("start", {"from": "base"})
    if begins["from"] == "base":
        return "the base"
    return f"{begins['from']}, with {begins['new_rows']} new rows and {begins['old_rows']} that it had learned"


def print_checks(links: Sequence[Any], first: int | None = None) -> None:
    """The first links, or all; those that fail in any case."""
    lines = [link for number, link in enumerate(links) if first is None or number < first or not link.ok]
    for link in lines:
        outcome = _short(link.found) if link.ok else f"recorded {link.expected}, found {link.found}"
        click.echo(f"{'✓' if link.ok else '✗'} {link.name:44} {outcome}")
    if rest := len(links) - len(lines):
        click.echo(f"… and {rest} more that hold: --all prints them")
    wrong = [link for link in links if not link.ok]
    if wrong:
        click.echo(f"{len(wrong)} of {len(links)} links FAIL: {', '.join(link.name for link in wrong[:10])}")
    else:
        click.echo(f"all {len(links)} links hold, each recomputed now")


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

    answer = search.data(target)
    versions = [{key: value for key, value in asdict(reader).items() if key != "content"} for reader in answer.versions]
    if json_:
        print_json({"hash": answer.target, "versions": versions, "gone": answer.gone})
    else:
        print_readers(answer.versions)
    verify.require_whole_history()
    if answer.gone:
        raise Refused(
            f"bytes gone, hashes kept: cannot tell whether the raw data of {', '.join(answer.gone)} held {target}; "
            "`dvc pull` may restore it"
        )
    if not answer.versions:
        raise Refused(f"no version was trained, validated or tested on {answer.target}")


@lineage.command(epilog="Example: retune lineage row T-1017")
@click.argument("name", metavar="ID")
@as_json
def row(name: str, json_: bool) -> None:
    """List the versions that saw this row.

    With its split, when each version served, and the row as it was; why curate rejected it for the others. Exit code 1
    if none saw it.
    """
    environment.activate_project()
    from retune.serving import feedback
    from tasks.trace import search, verify

    answer = search.row(name)
    came_from = feedback.request_of(name)
    if json_:
        print_json({"row": answer.target, "request": came_from, **row_as_json(answer)})
    else:
        print_row(answer)
        if came_from:
            click.echo(f"it comes from feedback: `retune lineage request {came_from}` shows the answer")
    verify.require_whole_history()
    require_bytes(answer)
    if not answer.versions:
        raise Refused(f"no version saw a row {name!r}{_where_it_is(answer)}")


def row_as_json(answer: "SearchResult") -> dict[str, Any]:
    """The versions that saw a row, and those that did not."""
    return {
        "versions": [asdict(reader) for reader in answer.versions],
        "free": answer.free,
        "gone": answer.gone,
        "rejected": [asdict(each) for each in answer.rejected],
        "label_verdicts": [asdict(each) for each in answer.verdicts],
    }


def print_row(answer: "SearchResult") -> None:
    print_readers(answer.versions)
    for text in dict.fromkeys(str(reader.content["text"]) for reader in answer.versions if reader.content):
        click.echo(f"the row as it was: {text[:500]}")
    for verdict in answer.verdicts:
        click.echo(f"its label: {_describe_verdict(verdict)}, in {', '.join(verdict.versions)}")
    if answer.free:
        click.echo(f"free of it: {', '.join(answer.free)}")
    for rejection in answer.rejected:
        click.echo(f"rejected by curate: {_describe_rejection(rejection)}, for {', '.join(rejection.versions)}")


def require_bytes(answer: "SearchResult") -> None:
    """Raises Refused if the bytes that some version saw are gone."""
    if answer.gone:
        raise Refused(
            f"bytes gone, hashes kept: cannot tell whether {', '.join(answer.gone)} saw {answer.target}; "
            "`dvc pull` may restore the splits"
        )


def _describe_verdict(verdict: Any) -> str:
    """Such as `billing → refunds by Ada, 2026-11-30`."""
    change = f"{verdict.before} → {verdict.after}" if verdict.before != verdict.after else f"{verdict.after}, confirmed"
    return f"{change} by {verdict.reviewer}, {verdict.at}"


def _describe_rejection(rejection: Any) -> str:
    """Such as `exact_copy of T-00074 (train of classifier/1, classifier/2)`."""
    from tasks.trace import search

    if rejection.twin is None:
        return f"{rejection.reason}{f' ({rejection.detail})' if rejection.detail else ''}"
    versions: dict[str, list[str]] = {}
    for reader in search.row(rejection.twin).versions:
        if (version := f"{reader.name}/{reader.version}") in rejection.versions and not reader.via:
            versions.setdefault(reader.side, []).append(version)
    splits = "; ".join(f"{split} of {', '.join(names)}" for split, names in versions.items())
    return f"{rejection.reason} of {rejection.twin}{f' ({splits})' if splits else ''}"


def _where_it_is(answer: Any) -> str:
    """Where a row is that no version saw, as the end of a message."""
    if answer.rejected:
        return f": curate rejected it as {', '.join(each.reason for each in answer.rejected)}"
    from tasks.forget import forget

    try:
        has_arrived = forget.has_arrived(answer.target)
    except RetuneError as error:
        return f", and whether data/raw has it is unknown: {error}"
    if has_arrived:
        return ", but data/raw has it: `retune run` has not taken it yet, or the list of rejects is gone"
    return ", and data/raw has no such id: check the spelling"


def print_readers(versions: Sequence[Any]) -> None:
    if versions:
        rows: list[tuple[str, ...]] = [("version", "split", "aliases", "served as champion")]
        for reader in versions:
            served = ", ".join(f"{each['from']} to {each['to'] or 'now'}" for each in reader.served) or "never"
            rows.append((f"{reader.name}/{reader.version}", _describe_split(reader), " ".join(reader.aliases), served))
        print_table(rows)


def _describe_split(reader: Any) -> str:
    """Such as `val (learned: refit), via classifier/1`."""
    learned = {True: " (learned: refit)", False: " (chose the epoch)", None: ""}[reader.refit]
    return f"{reader.side}{learned}{f', via {reader.via}' if reader.via else ''}"


@lineage.command(epilog="Example: retune lineage request 5f0c1e6a")
@click.argument("request_id", metavar="ID")
@as_json
def request(request_id: str, json_: bool) -> None:
    """Say what answered a request, and why it was there.

    Time, version, data, code, and who had approved and promoted it by then. Exit code 1 if the log does not know the
    request, or the history not the version that answered.
    """
    environment.activate_project()
    from tasks.trace import request

    parts = request.trace(request_id)
    if json_:
        print_json({"request": request_id, "served": [asdict(part) for part in parts]})
    else:
        for part in parts:
            _print_served(part)
    if strange := [part for part in parts if not (part.origin and part.origin.seal_holds)]:
        names = ", ".join(dict.fromkeys(part.version for part in strange))
        raise Refused(f"what answered as {names} is not what the history holds under that name")


def _print_served(part: Any) -> None:
    texts = [
        (
            f"text {answer['position'] + 1}",
            f"no answer: {answer['error']}"
            if answer["error"]
            else f"{answer['label']} ({answer['confidence']:.3f}, {answer['route']})",
        )
        for answer in part.answers
    ]
    opinions = [line for answer in part.answers for line in _describe_opinions(answer)]
    rows = [(part.version, f"{part.at}, {part.arm}: {part.reason}"), *texts, *opinions, ("seal", part.seal)]
    if origin := part.origin:
        rows += [(f"data, {name}", md5) for name, md5 in origin.data.items()]
        rows += [
            ("code", f"{origin.commit} (git show {origin.registered.entry})"),
            ("evidence", origin.evidence or "none"),
            ("registered", _describe_event(origin.registered)),
            ("approved", _describe_event(origin.approved) if origin.approved else "by nobody before the request"),
            ("champion", _describe_tenure(origin)),
        ]
    print_table(rows)


def _describe_opinions(answer: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for piece in answer["feedback"]:
        words = [f"{name} {piece[name]}" for name in ("label", "rating", "note") if piece[name] is not None]
        yield "feedback", f"text {answer['position'] + 1}, person {piece['person'][:8]}: {', '.join(words)}"
    if review := answer["review"]:
        row = f"; row {review['row']}" if review["row"] else ""
        verdict = f"{review['verdict']} by {review['reviewers']}" if review["verdict"] else "on a sheet"
        yield "review", f"text {answer['position'] + 1}: {verdict}{row}"


def _describe_event(event: Any) -> str:
    return f"{event.at} by {event.by}: {'; '.join(event.why)} ({event.entry})"


def _describe_tenure(origin: Any) -> str:
    if not origin.champion:
        return "not when the request came"
    end = f", until {origin.until}" if origin.until else ", to now"
    return f"{origin.champion.how or 'by its entry'}, {_describe_event(origin.champion)}{end}"


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
    differences = diff.diff(*(register.record_of_version(version) for version in pair))
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
