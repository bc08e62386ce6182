"""Commands for records: ingest, sources, quarantine. Heavy imports stand where they are used."""

import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from flows.cli.groups import RenamingGroup, StrictGroup
from flows.cli.output import as_json, on_one_line, print_json, print_table, print_wrapped, require_reason
from flows.project import environment
from retune.errors import Refused


@click.command(epilog="Example: retune ingest tickets.csv --text body --label queue --id ticket_id")
@click.argument("source", required=False)
@click.option("--merge", is_flag=True, help="Join the two sides of a merge conflict in data/raw.dvc; without SOURCE.")
@click.option("--text", metavar="COL", help="Column of the text, or the prompt; `text` if not given.")
@click.option(
    "--label",
    metavar="COL",
    help="Column of the label, or the answer; `label` if not given. `__other__`: none of the labels fits any row.",
)
@click.option("--rejected", metavar="COL", help="Column of the worse answer, for task prefer.")
@click.option("--id", "id_", metavar="COL", help="Column of the row's id; made from the content if not given.")
@click.option("--group", metavar="COL", help="Column of the group, such as the customer; its rows stay in one split.")
@click.option("--split", metavar="COL|train|test", help="Column of the preassigned split, or one split for all rows.")
@click.option("--keep", multiple=True, metavar="COL", help="A further column to keep, for slices; repeatable.")
@click.option("--source", "name", metavar="NAME", help="Name of the source; the file's name if not given.")
@click.option("--licence", metavar="TEXT", help="Licence of the source, kept in data/raw and in every record.")
@click.option("--collected", metavar="WINDOW", help="When it was collected, such as 2026-03 or 2026-01-01/2026-03-31.")
@click.option("--delimiter", metavar="CHAR", help="Separates the fields of a CSV file; found by content if not given.")
@click.option("--encoding", metavar="NAME", help="Of a text file that is not UTF-8, such as cp1252.")
@click.option("--sheet", metavar="NAME", help="Sheet of a workbook that has several.")
@click.option("--no-header", is_flag=True, help="The first record is a row; columns are called 'column 1' and so on.")
@click.option("--strict", is_flag=True, help="Bring nothing in if one row cannot be read.")
@as_json
def ingest(
    source: str | None,
    merge: bool,
    text: str | None,
    label: str | None,
    rejected: str | None,
    id_: str | None,
    group: str | None,
    split: str | None,
    keep: tuple[str, ...],
    name: str | None,
    licence: str | None,
    collected: str | None,
    delimiter: str | None,
    encoding: str | None,
    sheet: str | None,
    no_header: bool,
    strict: bool,
    json_: bool,
) -> None:
    """Add records to data/raw.

    SOURCE is a CSV, JSON, Parquet or Excel file, also compressed, a folder of them, or hf:DATASET. For tasks that
    generate text (`task` in params.yaml), the columns show the format: messages, prompt and completion, chosen and
    rejected, Alpaca or ShareGPT; --text and --label name others. A row that cannot be read is kept apart with its
    reason, up to `ingest.max_unreadable_share`. The same file twice adds nothing. On any error data/raw stays as it
    was.
    """
    if merge == (source is not None):
        raise click.UsageError("Missing argument 'SOURCE'." if source is None else "--merge takes no SOURCE.")
    if source is None:
        _merge_raw(json_)
        return
    if not source.startswith("hf:"):
        source = str(Path(source).absolute())
    environment.activate_project()
    from flows.execution import dvc, raw_data, recovery
    from retune.config import params
    from retune.data.readers.records import Reading
    from retune.data.row_mapping import Columns
    from tasks.ingest import Origin, Rules, ingest

    raw_data.require_merged()  # before params.yaml is read
    reading = Reading(delimiter, encoding, not no_header, sheet, say=_say)
    columns, config = Columns(text, label, id_, group, split, rejected, keep=keep), params.load()
    with environment.project_lock(environment.BRIEFLY):
        for repair in recovery.files():
            click.echo(f"repaired: {repair}", err=True)
        origin = Origin(name, licence, collected)
        result = ingest(
            source, Path("data/raw"), columns, Rules.of(config, strict, reading), origin, lambda: dvc.track("data/raw")
        )
    if json_:
        paths = {"part": result.part, "rejects_file": result.rejects_file}
        print_json({**asdict(result), **{name: str(path) if path else None for name, path in paths.items()}})
        return
    _print_ingested(result, config.train)


def _print_ingested(result: Any, train: Any) -> None:
    from retune.config.generation import turns_of
    from retune.data import answer_counts

    rejected = f", {result.rejected} rejected" if result.rejected else ""
    received = "1 row" if result.received == 1 else f"{result.received} rows"
    total = "1 row" if result.total == 1 else f"{result.total} rows"
    click.echo(
        f"received {received}: {result.added} added, {result.corrected} corrected, "
        f"{result.known + result.repeated} there already{rejected}. data/raw holds {total}."
    )
    for note in result.notes:
        click.echo(note)
    if result.counts:
        click.echo(f"read as: {result.format}")
        for line in answer_counts.sentences(result.counts, turns_of(train)):
            click.echo(line)
    if result.unused:
        click.echo(f"columns not used: {', '.join(result.unused)}")
    if result.reasons:
        click.echo(f"rejected rows{f', kept in {result.rejects_file}' if result.rejects_file else ', there already'}:")
        lines = ((each.reason, str(each.rows), on_one_line(each.example)) for each in result.reasons)
        print_table([("reason", "rows", "example"), *lines])


def _merge_raw(json_: bool) -> None:
    environment.activate_project()
    from flows.execution import raw_merge

    with environment.project_lock(environment.BRIEFLY):
        joined = raw_merge.merge()
    if json_:
        print_json({"parts": joined.parts, "ours": joined.our_parts, "overruled": list(joined.overruled)})
        return
    click.echo(
        f"joined: data/raw holds the {joined.parts} parts of both sides, {joined.our_parts} of them ours. "
        "`git commit` ends the merge"
    )
    for line in joined.overruled:
        click.echo(f"{line}; to change it, ingest the file again with --licence or --collected")


@click.group(cls=RenamingGroup, bare="sources check")
def sources() -> None:
    """Test the configured sources."""


@sources.command(epilog="Example: retune sources check")
@as_json
def check(json_: bool) -> None:
    """Test each configured source, and store nothing.

    Says whether it answers with the right columns, and how much is new: fetches everything new and throws it away. Exit
    code 1 if a source fails, or a file of it.
    """
    environment.activate_project(services=False)
    from flows.retraining import intake
    from retune.config import params
    from retune.data import intake_branch
    from tasks.fetch.fetch import fetch
    from tasks.ingest import Rules

    config = params.load()
    fetch_config = config.fetch
    if not fetch_config.sources:
        raise Refused(
            "no source is configured: docs/how-to/data/connect-sources.md shows what to write below fetch.sources in "
            "params.yaml"
        )
    cursors = intake_branch.read().cursors
    with tempfile.TemporaryDirectory(prefix="retune-") as scratch:
        batches = [
            intake.read_closely(batch, cursors.get(batch.source, {}), _say, Rules.of(config))
            for batch in fetch(fetch_config, cursors, Path(scratch), _say)
        ]
    if json_:
        print_json(
            {
                "ok": all(map(_good, batches)),
                "sources": [_as_json(batch, cursors.get(batch.source)) for batch in batches],
            }
        )
    else:
        rows = [
            (batch.source, batch.kind, _state(batch), str(batch.rows), _cursor(cursors.get(batch.source, {})))
            for batch in batches
        ]
        print_table([("source", "kind", "state", "new or changed rows", "read up to"), *rows])
    if not all(map(_good, batches)):
        sys.exit(Refused.exit_code)


def _say(line: str) -> None:
    click.echo(line, err=True)


def _good(batch: Any) -> bool:
    return batch.error is None and not batch.refused


def _as_json(batch: Any, cursor: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "source": batch.source,
        "kind": batch.kind,
        "ok": _good(batch),
        "error": str(batch.error) if batch.error else None,
        "rows": batch.rows,
        "files": len(batch.files),
        "waiting": list(batch.waiting),
        "refused": list(batch.refused),
        "cursor": cursor,
        "cursor_after": batch.cursor or None,
    }


def _state(batch: Any) -> str:
    if batch.error:
        return "FAILED"
    groups = {"wait": batch.waiting, "refused": batch.refused}
    return ", ".join(
        ["ok" if _good(batch) else "FAILED", *(f"{len(files)} files {what}" for what, files in groups.items() if files)]
    )


def _cursor(cursor: dict[str, Any]) -> str:
    if "files" in cursor:
        return f"{len(cursor['files'])} files"
    return str(cursor["at"][-1]["value"]) if cursor.get("at") else "nothing yet"


@click.group(cls=StrictGroup)
def quarantine() -> None:
    """List or release quarantined parts of the records."""


@quarantine.command("list", epilog="Example: retune quarantine list")
@as_json
def list_(json_: bool) -> None:
    """Show what came in, and which parts are quarantined and why.

    Also how far each source was read.
    """
    environment.activate_project()
    from retune.data import intake_branch as branch
    from retune.system import dvc_store

    now = branch.read()
    parts = sorted(path for path in dvc_store.listing(now.raw) if path.endswith(".parquet")) if now.raw else []
    if json_:
        aside = {part: asdict(each) for part, each in now.aside.items()}
        print_json({"commit": now.commit, "raw": now.raw, "parts": parts, "aside": aside, "cursors": now.cursors})
    elif now.raw:
        click.echo(f"{len(parts)} parts in data/raw of the branch retune/intake ({now.commit[:12]})")
        if now.aside:
            click.echo("quarantined:")
        for part, each in now.aside.items():
            click.echo(f"  {part}, {each.rows} rows, {each.at[:10]} {each.at[11:19]} UTC")
            print_wrapped(each.why, indent=4)
    if not now.raw:
        raise Refused("the intake is empty: `retune retrain` brings records in")


@quarantine.command(epilog='Example: retune quarantine release 2026-01-02-crm.parquet --reason "labels were right"')
@click.argument("part")
@require_reason("a commit of the branch retune/intake")
@as_json
def release(part: str, reason: str, json_: bool) -> None:
    """Let models learn from a quarantined PART again."""
    environment.activate_project()
    from flows.retraining import intake

    rows = intake.release(part, reason)
    if json_:
        print_json({"part": part, "rows": rows})
    else:
        click.echo(f"released {part}: the next `retune retrain` learns from its {rows} rows again")
