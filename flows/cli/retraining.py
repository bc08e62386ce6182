"""The commands of whoever keeps models current: retrain, intake, clean. Heavy imports stand where they are used."""

import sys
from dataclasses import asdict
from typing import Any

import click

from flows.cli.output import as_json, because, in_words, print_json, print_wrapped
from flows.project import environment
from retune.errors import Refused

GOOD = ("promoted", "nothing to do", "train")


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what it would do and why; keep nothing.")
@click.option(
    "--because", metavar="TEXT", callback=in_words, help="Ask for a run, whatever the triggers of params.yaml say."
)
@as_json
def retrain(dry_run: bool, because: str | None, json_: bool) -> None:
    """Bring records in, decide, and if there is reason to, train in a folder of its own and promote or hold.

    Exit code 1 if it was held or waits for approval, and if a source failed, whatever the others led to.
    """
    environment.activate_project()
    environment.require_writable()  # before Prefect is imported, whose server needs a minute to find that out
    from flows import retrain as flow

    told = flow.explain(because) if dry_run else flow.run(because)
    if json_:
        print_json(asdict(told))
    else:
        _tell(told, dry_run)
    if told.outcome not in GOOD or told.failures:
        sys.exit(Refused.exit_code)


def _tell(told: Any, dry_run: bool) -> None:
    title = {"train": "would train" if dry_run else "trains"}.get(told.outcome, told.outcome)
    click.echo(f"{title}{f': {told.version}' if told.version else ''}")
    for reason in told.why:
        click.echo(f"  {reason}")
    for source, count in (told.rows or {}).items():
        click.echo(f"  {source}: {count} new or corrected rows")
    for source, count in (told.known or {}).items():
        newest = told.inputs["newest"]
        click.echo(f"  {source}: {count} rows besides that the intake did not have; {newest} was made from them")
    for source, why in (told.failures or {}).items():
        click.echo(f"  {source} FAILED: {why}", err=True)
    if told.outcome == "awaiting":
        click.echo(f"  `retune approve {told.version} --reason TEXT` or `retune reject {told.version} --reason TEXT`")


@click.group()
def intake() -> None:
    """The records that have come in, and the parts of them that were set aside."""


@intake.command()
@as_json
def show(json_: bool) -> None:
    """Rows that models learn from, parts that were set aside and why, and how far each source was read."""
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
            click.echo("set aside:")
        for part, each in now.aside.items():
            click.echo(f"  {part}, {each.rows} rows, {each.at[:10]} {each.at[11:19]} UTC")
            print_wrapped(each.why, indent=4)
    if not now.raw:
        raise Refused("nothing has come in yet: `retune retrain` brings records in")


@intake.command()
@click.argument("part")
@because
@as_json
def accept(part: str, reason: str, json_: bool) -> None:
    """Let models learn from PART again, which was set aside."""
    environment.activate_project()
    from flows.retraining import intake

    rows = intake.release(part, reason)
    if json_:
        print_json({"part": part, "rows": rows})
    else:
        click.echo(f"{part}: models learn from its {rows} rows again, from the next `retune retrain` on")


@click.command()
@click.option("--days", type=click.FloatRange(0), help="Older than that; decide.keep_failed_days unless given.")
@as_json
def clean(days: float | None, json_: bool) -> None:
    """Remove the folders that failed runs have left behind, and reports because of which no row is set aside now."""
    environment.activate_project()
    from flows.execution import worktree
    from flows.retraining import refusal_reports
    from retune.config import params
    from retune.data import intake_branch as branch

    swept = worktree.sweep(params.load().decide.keep_failed_days if days is None else days)
    reports = [str(folder) for folder in refusal_reports.sweep(branch.read().aside.values())]
    kept = worktree.left()
    if json_:
        told = {"removed": swept, "kept": kept}
        folders = {key: [{**asdict(each), "folder": str(each.folder)} for each in of] for key, of in told.items()}
        print_json({**folders, "reports": reports})
        return
    for report in reports:
        click.echo(f"removed {report}: no row is set aside because of it any more")
    for each in swept:
        print_wrapped(f"removed {each.folder}: {each.why}", lines=4)
    for each in kept:
        print_wrapped(f"kept {each.folder}, {each.days:.1f} days old: {each.why}", lines=4)
    if not (swept or kept or reports):
        click.echo("no run has left anything behind")


COMMANDS = (retrain, intake, clean)
