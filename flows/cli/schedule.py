"""Commands for the schedule: when to retrain, and whether it still works."""

import sys
from typing import Any

import click

from flows.cli.groups import StrictGroup
from flows.cli.output import as_json, in_words, print_json, print_table
from flows.project import environment
from retune.errors import Refused


@click.group(cls=StrictGroup)
def schedule() -> None:
    """Set, list and pause the schedule, and check its health."""


@schedule.command("set", epilog='Example: retune schedule set "0 2 * * 1" --timezone Europe/Berlin')
@click.argument("cron", metavar='"MINUTE HOUR DAY MONTH WEEKDAY"')
@click.option("--timezone", metavar="TZ", default="UTC", show_default=True, help="Such as Europe/Berlin.")
@click.option("--silent-after", type=click.IntRange(1), default=2, show_default=True, metavar="N",
              help="Report silence when nothing has succeeded for N periods.")  # fmt: skip
@as_json
def set_(cron: str, timezone: str, silent_after: int, json_: bool) -> None:
    """Retrain at these times, replacing those set before.

    Also activates a paused schedule.
    """
    environment.activate_project()
    from flows.scheduling import deployments

    paused = deployments.paused()
    _print_and_require(deployments.set_(cron, timezone, silent_after), json_)
    if paused:
        click.echo("the schedule was paused, and is active now: `retune schedule pause` pauses it again", err=json_)


@schedule.command("list", epilog="Example: retune schedule list")
@as_json
def list_(json_: bool) -> None:
    """Show the schedule, its next times and the newest runs."""
    environment.activate_project()
    from flows.scheduling import deployments

    planned, runs = deployments.planned(), deployments.newest()
    if json_:
        print_json({"schedules": [each.__dict__ for each in planned], "runs": [each.__dict__ for each in runs]})
    else:
        _print_schedules(planned)
        _print_runs(runs)
    if sentence := deployments.outdated():
        click.echo(sentence, err=True)
    _require_a_schedule(planned)


@schedule.command(epilog="Example: retune schedule pause")
@as_json
def pause(json_: bool) -> None:
    """Stop retraining on schedule until `resume`.

    Requests are still taken.
    """
    environment.activate_project()
    from flows.scheduling import deployments

    _print_and_require(deployments.activate(False), json_)


@schedule.command(epilog="Example: retune schedule resume")
@as_json
def resume(json_: bool) -> None:
    """Retrain on schedule again.

    Does not make up for what was missed.
    """
    environment.activate_project()
    from flows.scheduling import deployments

    _print_and_require(deployments.activate(True), json_)


@schedule.command(epilog='Example: retune schedule request --reason "labels of March were wrong"')
@click.option(
    "--reason", "--because", required=True, metavar="TEXT", callback=in_words, help="Why; kept in the history."
)
def request(reason: str) -> None:
    """Request a retraining now.

    Any program may ask too, by the Prefect event `retune.requested`.
    """
    environment.activate_project()
    from flows.scheduling import deployments

    deployments.request(reason)
    click.echo("requested: `retune schedule list` and the Prefect UI show the run in a moment")


@schedule.command(epilog="Example: retune schedule health --notify")
@click.option(
    "--notify", "--tell", "tell", is_flag=True, help="Also send the notification, as the scheduled watch does."
)
@as_json
def health(tell: bool, json_: bool) -> None:
    """Say whether retraining has fallen silent, and why.

    For cron, where the worker itself may be gone. Exit code 1 if it has.
    """
    environment.activate_project(services=False)
    from flows.retraining import notifications as channels
    from flows.scheduling import crash_alerts
    from flows.scheduling import health as schedule_health

    status = schedule_health.check_and_notify(crash_alerts.tell if tell else None)
    if tell and not channels.has_channel():
        click.echo(f"no one is notified: {channels.NO_CHANNEL}", err=True)
    if json_:
        print_json(status.__dict__)
    else:
        click.echo(f"{status.kind}: {status.words}")
        if status.mend:
            click.echo(status.mend)
    if not status.ok:
        sys.exit(Refused.exit_code)


def _print_and_require(planned: list[Any], json_: bool) -> None:
    if json_:
        print_json([each.__dict__ for each in planned])
    else:
        _print_schedules(planned)
    _require_a_schedule(planned)


def _print_schedules(planned: list[Any]) -> None:
    rows: list[tuple[str, ...]] = [("deployment", "times", "time zone", "active", "next", "silent after")]
    for each in planned:
        silent = f"{each.silent_after} periods" if each.silent_after else ""
        rows.append((each.deployment, each.cron, each.timezone, "yes" if each.active else "no", each.next, silent))
    if planned:
        print_table(rows)


def _print_runs(runs: list[Any]) -> None:
    if not runs:
        click.echo("no run was due yet")
        return
    rows: list[tuple[str, ...]] = [("run", "state", "due (UTC)", "started", "ended", "reason", "report")]
    for each in runs:
        times = [(at or "")[:19].replace("T", " ") for at in (each.due, each.began, each.ended)]
        rows.append((each.run, each.state, *times, each.because[:60], each.says[:100]))
    click.echo()
    print_table(rows)
    for version in dict.fromkeys(each.version for each in runs if each.version):
        click.echo(f"{version} waits for `retune approve {version} --reason TEXT`, or reject")


def _require_a_schedule(planned: list[Any]) -> None:
    if not planned:
        raise Refused('no schedule is set: `retune schedule set "0 2 * * 1"` retrains every Monday at two')
