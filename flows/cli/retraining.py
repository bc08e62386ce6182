"""Commands that keep models current: retrain, clean."""

import sys
from dataclasses import asdict
from typing import Any

import click

from flows.cli.output import as_json, in_words, print_json, print_wrapped
from flows.project import environment
from retune.errors import Refused

GOOD = ("promoted", "nothing to do", "train")


@click.command(epilog='Example: retune retrain --reason "a new product line"')
@click.option("--dry-run", is_flag=True, help="Say what it would do and why; keep nothing.")
@click.option(
    "--reason",
    "--because",
    "reason",
    metavar="TEXT",
    callback=in_words,
    help="Ask for a run, whatever the triggers of params.yaml say.",
)
@as_json
def retrain(dry_run: bool, reason: str | None, json_: bool) -> None:
    """Bring records in and retrain if there is reason to.

    Trains in a worktree of its own, then promotes or holds. Exit code 1 if the version is held or waits for approval,
    and if a source failed, whatever the others led to.
    """
    environment.activate_project()
    environment.require_writable()  # before Prefect is imported, whose server needs a minute to find that out
    from flows import retrain as flow

    told = flow.explain(reason) if dry_run else flow.run(reason)
    if json_:
        print_json(asdict(told))
    else:
        _print_outcome(told, dry_run)
    if told.outcome not in GOOD or told.failures:
        sys.exit(Refused.exit_code)


def _print_outcome(told: Any, dry_run: bool) -> None:
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


@click.command(epilog="Example: retune clean --days 7")
@click.option("--days", type=click.FloatRange(0), help="Older than that; trigger.keep_failed_days unless given.")
@as_json
def clean(days: float | None, json_: bool) -> None:
    """Remove folders that failed runs left behind.

    Also reports of refusals that no quarantined row needs any more.
    """
    environment.activate_project()
    from flows.execution import worktree
    from flows.retraining import refusal_reports
    from retune.config import params
    from retune.data import intake_branch as branch

    swept = worktree.sweep(params.load().trigger.keep_failed_days if days is None else days)
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
