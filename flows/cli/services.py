"""The commands of who keeps Retune running: servers, worker, schedule, and the check of the installation."""

import sys
from typing import Any

import click

from flows.cli.output import as_json, in_words, print_json, print_table, say
from flows.project import environment
from retune.errors import Refused

PORT = click.IntRange(1, 65535)


@click.command()
@click.option("--host", metavar="ADDRESS", help="Where the servers listen; this machine only, if not given.")
@click.option("--database", type=click.Choice(["postgres", "sqlite"]), help="PostgreSQL where it is, if not given.")
@click.option("--prefect-port", type=PORT, help="4200 or the next free one, if not given.")
@click.option("--mlflow-port", type=PORT, help="5000 or the next free one, if not given.")
@click.option("--postgres-port", type=PORT, help="5433 or the next free one, if not given.")
@click.option("--no-worker", is_flag=True, help="Start the servers only.")
@click.option("--database-only", is_flag=True, help="Start the database only, to restore a backup into it.")
@as_json
def up(
    host: str | None,
    database: str | None,
    prefect_port: int | None,
    mlflow_port: int | None,
    postgres_port: int | None,
    no_worker: bool,
    database_only: bool,
    json_: bool,
) -> None:
    """Start database, Prefect, MLflow and a worker on this machine, and wait until they answer."""
    environment.activate_project(services=False)
    from flows.services import up_down
    from flows.services.state import ORDER, folder, url

    asked = {"prefect": prefect_port, "mlflow": mlflow_port, "postgres": postgres_port}
    ports = {name: port for name, port in asked.items() if port}
    names = ORDER[:1] if database_only else ORDER[:3] if no_worker else ORDER
    state = up_down.up(up_down.Wanted(database, host, ports, names), _silent if json_ else say)
    facts = up_down.facts(state)
    if json_:
        print_json({"database": state.database, "services": facts, "environment": str(folder() / "env")})
        return
    if database_only:
        return
    click.echo(
        f"\nPrefect  {url(state, 'prefect')}\nMLflow   {url(state, 'mlflow')}\n\n"
        "The commands of this clone use them by themselves. For others, and to log in as `retune` with the passwords:\n"
        f"  set -a; . {folder() / 'env'}; set +a\n"
        '`retune schedule set "0 2 * * 1"` retrains every Monday at two; `retune down` stops what is up.'
    )


@click.command()
@as_json
def down(json_: bool) -> None:
    """Stop what `retune up` started, and nothing else."""
    environment.activate_project(services=False)
    from flows.services import up_down

    stopped = up_down.down(_silent if json_ else say)
    if json_:
        print_json({"stopped": stopped})
    elif not stopped:
        click.echo("nothing of this clone is up")


@click.command()
def rotate() -> None:
    """New passwords for the database, Prefect and MLflow; what uses them is started again."""
    environment.activate_project(services=False)
    from flows.services import up_down
    from flows.services.state import folder

    up_down.rotate_passwords(say)
    click.echo(f"the passwords are new; programs of others read {folder() / 'env'} again")


@click.command()
@click.option("--check", is_flag=True, help="Only say whether a worker of this machine is heard from.")
def worker(check: bool) -> None:
    """Take runs from the schedule and run them here, until Ctrl-C."""
    environment.activate_project()
    from flows.scheduling import worker

    if not check:
        worker.work()
    elif not worker.heard():
        raise Refused("no worker of this machine is heard from: `retune up` or `retune worker` starts one")


@click.group()
def schedule() -> None:
    """When to retrain: set, list, pause, resume."""


@schedule.command("set")
@click.argument("cron", metavar='"MINUTE HOUR DAY MONTH WEEKDAY"')
@click.option("--timezone", metavar="TZ", default="UTC", show_default=True, help="Such as Europe/Berlin.")
@click.option("--silent-after", type=click.IntRange(1), default=2, show_default=True, metavar="N",
              help="Say so when nothing has succeeded in N periods.")  # fmt: skip
@as_json
def set_(cron: str, timezone: str, silent_after: int, json_: bool) -> None:
    """Retrain at these times, in place of those set before; also if it was paused."""
    environment.activate_project()
    from flows.scheduling import deployments

    paused = deployments.paused()
    _tell(deployments.set_(cron, timezone, silent_after), json_)
    if paused:
        click.echo("it was paused, and is active now: `retune schedule pause` pauses it again", err=json_)


@schedule.command("list")
@as_json
def list_(json_: bool) -> None:
    """The schedule, whether it is active, when it is due next, and the newest runs: asked for, and on schedule."""
    environment.activate_project()
    from flows.scheduling import deployments

    planned, runs = deployments.planned(), deployments.newest()
    if json_:
        print_json({"schedules": [each.__dict__ for each in planned], "runs": [each.__dict__ for each in runs]})
    else:
        _tell_planned(planned)
        _tell_runs(runs)
    _refuse_none(planned)


@schedule.command()
@as_json
def pause(json_: bool) -> None:
    """Retrain at no time until `resume`; requests are still taken."""
    environment.activate_project()
    from flows.scheduling import deployments

    _tell(deployments.activate(False), json_)


@schedule.command()
@as_json
def resume(json_: bool) -> None:
    """Retrain again at the times that are set; what was missed is not made up for."""
    environment.activate_project()
    from flows.scheduling import deployments

    _tell(deployments.activate(True), json_)


@schedule.command()
@click.argument("because", metavar="TEXT", callback=in_words)
def request(because: str) -> None:
    """Ask for a retraining now, and say why; as any program may by the event `retune.requested`."""
    environment.activate_project()
    from flows.scheduling import deployments

    deployments.request(because)
    click.echo("asked: in a moment `retune schedule list` shows the run, as the Prefect UI does")


@click.command()
@click.option("--tell", is_flag=True, help="Also send the notification, as the scheduled watch does.")
@as_json
def watch(tell: bool, json_: bool) -> None:
    """Say whether retraining has fallen silent, and why. For cron, where the worker itself may be gone."""
    environment.activate_project(services=False)
    from flows.retraining import notifications as channels
    from flows.scheduling import crash_alerts, health

    found = health.check_and_notify(crash_alerts.tell if tell else None)
    if tell and not channels.anybody():
        click.echo(f"nobody is told: {channels.NOBODY}", err=True)
    if json_:
        print_json(found.__dict__)
    else:
        click.echo(found.words if found.ok else f"{found.words}\n{found.mend}")
    if not found.ok:
        sys.exit(Refused.exit_code)


@click.command()
@click.option("--port", type=PORT, default=5000, show_default=True, help="Port on this machine.")
def ui(port: int) -> None:
    """Start the MLflow UI on the right store and say where it is."""
    environment.activate_project()
    from flows.services import mlflow_ui

    mlflow_ui.serve(port)


@click.command()
@as_json
def doctor(json_: bool) -> None:
    """Check the installation and name what is wrong and how to mend it."""
    environment.activate_project(services=False)
    from flows.services.doctor import examine

    findings = examine()
    if json_:
        print_json([finding.__dict__ for finding in findings])
    else:
        for finding in findings:
            click.echo(f"{'ok  ' if finding.ok else 'BAD '} {finding.name:14}{finding.found}")
            if not finding.ok:
                click.echo(f"{'':19}{finding.mend}")
    if not all(finding.ok for finding in findings):
        sys.exit(Refused.exit_code)


def _silent(_: str) -> None:
    """For --json, which is all that is printed."""


def _tell(planned: list[Any], json_: bool) -> None:
    if json_:
        print_json([each.__dict__ for each in planned])
    else:
        _tell_planned(planned)
    _refuse_none(planned)


def _tell_planned(planned: list[Any]) -> None:
    rows: list[tuple[str, ...]] = [("deployment", "times", "time zone", "active", "next", "silent after")]
    for each in planned:
        silent = f"{each.silent_after} periods" if each.silent_after else ""
        rows.append((each.deployment, each.cron, each.timezone, "yes" if each.active else "no", each.next, silent))
    if planned:
        print_table(rows)


def _tell_runs(runs: list[Any]) -> None:
    if not runs:
        click.echo("no run has been due yet")
        return
    rows: list[tuple[str, ...]] = [("run", "state", "due (UTC)", "began", "ended", "because", "says")]
    for each in runs:
        times = [(at or "")[:19].replace("T", " ") for at in (each.due, each.began, each.ended)]
        rows.append((each.run, each.state, *times, each.because[:60], each.says[:100]))
    click.echo()
    print_table(rows)


def _refuse_none(planned: list[Any]) -> None:
    if not planned:
        raise Refused('no schedule is set: `retune schedule set "0 2 * * 1"` retrains every Monday at two')


COMMANDS = (up, down, rotate, worker, schedule, watch, ui, doctor)
