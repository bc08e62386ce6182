"""The commands for what Retune reaches outside: sources, where rows come from, and notify, where news goes."""

import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from flows.cli.output import as_json, print_json, print_table
from flows.project import environment
from retune.errors import Broken, Refused


@click.command()
@as_json
def sources(json_: bool) -> None:
    """Check each configured source: whether it answers, with the right columns, and how much is new. Takes nothing.

    Everything new is really fetched, and thrown away. Exit code 1 if a source fails, or a file of it.
    """
    environment.activate_project()
    from flows.retraining import intake
    from retune.config import params
    from retune.data import intake_branch
    from tasks.fetch.fetch import fetch

    chosen = params.load()
    section = chosen.fetch
    if not section.sources:
        raise Refused("no source is configured: infra/README.md shows what to write below fetch.sources in params.yaml")
    kept = intake_branch.read().cursors
    with tempfile.TemporaryDirectory(prefix="retune-") as scratch:
        found = [
            intake.read_closely(batch, kept.get(batch.source, {}), _say, chosen.task)
            for batch in fetch(section, kept, Path(scratch), _say)
        ]
    if json_:
        print_json(
            {
                "ok": all(map(_good, found)),
                "sources": [_told(batch, kept.get(batch.source)) for batch in found],
            }
        )
    else:
        rows = [
            (batch.source, batch.kind, _state(batch), str(batch.rows), _cursor(kept.get(batch.source, {})))
            for batch in found
        ]
        print_table([("source", "kind", "state", "new or changed rows", "read up to"), *rows])
    if not all(map(_good, found)):
        sys.exit(Refused.exit_code)


def _say(line: str) -> None:
    click.echo(line, err=True)


def _good(batch: Any) -> bool:
    return batch.error is None and not batch.refused


def _told(batch: Any, kept: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "source": batch.source,
        "kind": batch.kind,
        "ok": _good(batch),
        "error": str(batch.error) if batch.error else None,
        "rows": batch.rows,
        "files": len(batch.files),
        "waiting": list(batch.waiting),
        "refused": list(batch.refused),
        "cursor": kept,
        "cursor_after": batch.cursor or None,
    }


def _state(batch: Any) -> str:
    if batch.error:
        return "FAILED"
    told = {"wait": batch.waiting, "refused": batch.refused}
    return ", ".join(
        ["ok" if _good(batch) else "FAILED", *(f"{len(files)} files {what}" for what, files in told.items() if files)]
    )


def _cursor(cursor: dict[str, Any]) -> str:
    if "files" in cursor:
        return f"{len(cursor['files'])} files"
    return str(cursor["at"][-1]["value"]) if cursor.get("at") else "nothing yet"


@click.command()
@click.argument("text", default="A test of Retune's notifications.")
@as_json
def notify(text: str, json_: bool) -> None:
    """Send TEXT to everyone who is told when a model is promoted, held, or a run fails, and say who got it.

    Channels come from RETUNE_NOTIFY_URLS (addresses of Apprise) and RETUNE_NOTIFY_BLOCKS (blocks of Prefect).
    """
    environment.activate_project()
    from flows.retraining import notifications
    from retune.config import params

    sent = notifications.send("Retune", text, params.load().notify.timeout_seconds)
    if not sent:
        raise Refused(f"nobody would be told: {notifications.NOBODY}")
    taken = sum(each.ok for each in sent)
    if json_:
        print_json({"sent": taken, "channels": [each.__dict__ for each in sent]})
    else:
        for each in sent:
            click.echo(f"{'✓' if each.ok else '✗'} {each.channel}{'' if each.ok else f': {each.why}'}")
        click.echo(f"sent through {taken} of {len(sent)} channels")
    if taken < len(sent):
        sys.exit(Broken.exit_code)


COMMANDS = (sources, notify)
