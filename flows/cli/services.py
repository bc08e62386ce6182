"""Commands that keep Retune running: servers, worker, notifications, and the check of the installation."""

import sys
from typing import Any

import click

from flows.cli.groups import RenamingGroup
from flows.cli.output import as_json, print_json, say, say_if_slow
from flows.project import environment
from retune.errors import Broken, Refused

PORT = click.IntRange(1, 65535)


@click.command(epilog="Example: retune up --database sqlite")
@click.option("--host", metavar="ADDRESS", help="Address that the servers listen on; this machine only if not given.")
@click.option(
    "--database", type=click.Choice(["postgres", "sqlite"]), help="PostgreSQL where it is installed, if not given."
)
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
    """Start database, Prefect, MLflow and a worker here.

    Waits until they answer.
    """
    environment.activate_project(services=False)
    from flows.services import up_down
    from flows.services.state import ORDER, folder, url

    ports_by_service = {"prefect": prefect_port, "mlflow": mlflow_port, "postgres": postgres_port}
    ports = {name: port for name, port in ports_by_service.items() if port}
    names = ORDER[:1] if database_only else ORDER[:3] if no_worker else ORDER
    state = up_down.up(up_down.UpRequest(database, host, ports, names), _discard if json_ else say)
    facts = up_down.facts(state)
    if json_:
        print_json({"database": state.database, "services": facts, "environment": str(folder() / "env")})
        return
    if database_only:
        return
    click.echo(
        f"\nPrefect  {url(state, 'prefect')}\nMLflow   {url(state, 'mlflow')}\n\n"
        "The commands of this clone use them. For other programs, and to log in as `retune` with the passwords:\n"
        f"  set -a; . {folder() / 'env'}; set +a\n"
        '`retune schedule set "0 2 * * 1"` retrains every Monday at two; `retune down` stops what is up.'
    )


@click.command(epilog="Example: retune down")
@as_json
def down(json_: bool) -> None:
    """Stop what `retune up` started, and nothing else."""
    environment.activate_project(services=False)
    from flows.services import up_down

    stopped = up_down.down(_discard if json_ else say)
    if json_:
        print_json({"stopped": stopped})
    elif not stopped:
        click.echo("no service of this clone is up")


@click.command(epilog="Example: retune rotate-passwords")
def rotate_passwords() -> None:
    """Replace the passwords of database, Prefect and MLflow.

    Restarts what uses them.
    """
    environment.activate_project(services=False)
    from flows.services import up_down
    from flows.services.state import folder

    up_down.rotate_passwords(say)
    click.echo(f"the passwords are new: other programs must read {folder() / 'env'} again")


@click.command(epilog="Example: retune worker")
@click.option("--check", is_flag=True, help="Only say whether Prefect hears from a worker of this machine.")
def worker(check: bool) -> None:
    """Take runs from the schedule and run them here.

    Works until Ctrl-C.
    """
    environment.activate_project()
    from flows.scheduling import worker

    if not check:
        worker.work()
    elif not worker.heard():
        raise Refused("no worker of this machine has a recent heartbeat: `retune up` or `retune worker` starts one")


@click.command(epilog="Example: retune ui --port 5001")
@click.option("--port", type=PORT, default=5000, show_default=True, help="Port on this machine.")
def ui(port: int) -> None:
    """Start the MLflow UI on the right store.

    Says where it is; the best run comes first.
    """
    environment.activate_project()
    from flows.services import mlflow_ui

    mlflow_ui.serve(port)


@click.group(cls=RenamingGroup, bare="notify test [TEXT]")
def notify() -> None:
    """Test the channels for notifications."""


@notify.command(epilog='Example: retune notify test "is this on?"')
@click.argument("text", default="A test of Retune's notifications.")
@as_json
def test(text: str, json_: bool) -> None:
    """Send TEXT to every channel and say which took it.

    Channels come from RETUNE_NOTIFY_URLS (addresses of Apprise) and RETUNE_NOTIFY_BLOCKS (blocks of Prefect).
    """
    environment.activate_project()
    from flows.retraining import notifications
    from retune.config import params

    deliveries = notifications.send("Retune", text, params.load().notify.timeout_seconds)
    if not deliveries:
        raise Refused(f"no one would be notified: {notifications.NO_CHANNEL}")
    delivered = sum(each.ok for each in deliveries)
    if json_:
        print_json({"sent": delivered, "channels": [each.__dict__ for each in deliveries]})
    else:
        for each in deliveries:
            click.echo(f"{'✓' if each.ok else '✗'} {each.channel}{'' if each.ok else f': {each.why}'}")
        click.echo(f"sent through {delivered} of {len(deliveries)} channels")
    if delivered < len(deliveries):
        sys.exit(Broken.exit_code)


@click.command(epilog="Example: retune doctor")
@as_json
def doctor(json_: bool) -> None:
    """Check the installation, and say how to fix it."""
    environment.activate_project(services=False)
    from flows.services.doctor import examine

    findings = []
    for finding in examine(lambda name: say_if_slow(f"checking {name}")):
        findings.append(finding)
        if not json_:
            _print_finding(finding)
    if json_:
        print_json([finding.__dict__ for finding in findings])
    if not all(finding.ok for finding in findings):
        sys.exit(Refused.exit_code)


def _print_finding(finding: Any) -> None:
    click.echo(f"{'ok  ' if finding.ok else 'BAD '} {finding.name:14}{finding.found}")
    if not finding.ok:
        click.echo(f"{'':19}{finding.mend}")


def _discard(_: str) -> None:
    """Print nothing: with --json only the JSON is printed."""
