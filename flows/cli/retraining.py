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
@click.option("--dry-run", is_flag=True, help="Say what it would do and why; store nothing.")
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
    environment.require_writable()  # before Prefect is imported, whose server notices it only after a minute
    from flows import retrain as flow

    outcome = flow.explain(reason) if dry_run else flow.run(reason)
    if json_:
        print_json(asdict(outcome))
    else:
        _print_outcome(outcome, dry_run)
    if outcome.outcome not in GOOD or outcome.failures:
        sys.exit(Refused.exit_code)


def _print_outcome(outcome: Any, dry_run: bool) -> None:
    title = {"train": "would train" if dry_run else "trains"}.get(outcome.outcome, outcome.outcome)
    click.echo(f"{title}{f': {outcome.version}' if outcome.version else ''}")
    for reason in outcome.why:
        click.echo(f"  {reason}")
    for source, count in (outcome.rows or {}).items():
        click.echo(f"  {source}: {count} new or corrected rows")
    for source, count in (outcome.known or {}).items():
        newest = outcome.inputs["newest"]
        click.echo(f"  {source}: {count} rows that the intake did not have, and that {newest} was made from")
    for source, why in (outcome.failures or {}).items():
        click.echo(f"  {source} FAILED: {why}", err=True)
    if outcome.outcome == "awaiting":
        click.echo(
            f"  `retune approve {outcome.version} --reason TEXT` or `retune reject {outcome.version} --reason TEXT`"
        )


@click.command(epilog="Example: retune clean --days 7")
@click.option(
    "--days", type=click.FloatRange(0), help="Age from which to remove; trigger.keep_failed_days if not given."
)
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
    remaining = worktree.left()
    if json_:
        groups = {"removed": swept, "kept": remaining}
        folders = {key: [{**asdict(each), "folder": str(each.folder)} for each in of] for key, of in groups.items()}
        print_json({**folders, "reports": reports})
        return
    for report in reports:
        click.echo(f"removed {report}: no quarantined row needs it")
    for each in swept:
        print_wrapped(f"removed {each.folder}: {each.why}", lines=4)
    for each in remaining:
        print_wrapped(f"kept {each.folder}, {each.days:.1f} days old: {each.why}", lines=4)
    if not (swept or remaining or reports):
        click.echo("nothing to remove")
