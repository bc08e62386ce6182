"""Commands that let registered versions answer: serve, and the API keys of who may ask."""

from typing import Any

import click

from flows.cli.groups import StrictGroup
from flows.cli.output import as_json, print_json, print_table
from flows.project import environment
from retune.errors import Refused

SCOPES = ("predict", "feedback", "admin")


@click.command(epilog="Example: retune serve classifier@champion")
@click.argument("references", nargs=-1, metavar="[NAME@ALIAS ...]")
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True,
              help="Address to listen on; one that other machines reach needs API keys.")  # fmt: skip
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option("--replicas", type=click.IntRange(1), metavar="N",
              help="Answer from N processes of a Ray cluster: RETUNE_RAY_ADDRESS, or one on this machine.")  # fmt: skip
def serve(references: tuple[str, ...], host: str, port: int, replicas: int | None) -> None:
    """Answer requests with registered versions.

    Ends with Ctrl-C.

    The champion of this project, if none is named. NAME@ALIAS follows its alias: a version that becomes champion takes
    over without a lost request. NAME/VERSION stays. How requests are answered stands in section serve of params.yaml.
    """
    environment.activate_project()
    from retune.config import params
    from retune.registry import versions
    from tasks.serve import server

    config = params.load()
    named = references or (f"{config.register.name}@{versions.CHAMPION}",)
    if replicas is None:
        server.serve(named, host, port, config, _say_ready)
        return
    from tasks.serve import ray_deployment

    say = f"{replicas} replicas of {', '.join(named)} answer at"
    ray_deployment.serve(named, host, port, config, replicas, lambda address: click.echo(f"{say} {address}"))


def _say_ready(address: str, service: Any) -> None:
    for live in service.models.values():
        click.echo(f"{live.served} ({live.reference}) answers at {address}/v1/predict")
    keys = "an API key is needed" if service.needs_key else "no API key is needed"
    click.echo(f"{address}/ to try it, {address}/docs for its API; {keys}; Ctrl-C ends it")


@click.group("api-keys", cls=StrictGroup)
def api_keys() -> None:
    """Create, list and revoke the keys of clients."""


@api_keys.command(epilog="Example: retune api-keys create helpdesk --scope predict --scope feedback")
@click.argument("name")
@click.option("--scope", "scopes", type=click.Choice(SCOPES), multiple=True, required=True,
              help="What it allows; admin allows all. May be given several times.")  # fmt: skip
@as_json
def create(name: str, scopes: tuple[str, ...], json_: bool) -> None:
    """Create a key, and show it this once: only its hash is kept."""
    environment.activate_project()
    from retune.serving import api_keys as keys

    key = keys.create(name, scopes)
    if json_:
        print_json({"name": name, "scopes": scopes, "key": key})
        return
    click.echo(key)
    click.echo(f"shown this once: clients send it as `Authorization: Bearer KEY`; {keys.path()} has its hash", err=True)


@api_keys.command("list", epilog="Example: retune api-keys list")
@as_json
def list_(json_: bool) -> None:
    """List the keys by name, without the keys themselves."""
    environment.activate_project()
    from retune.serving import api_keys as keys

    entries = keys.read(keys.path())
    if json_:
        print_json([{"name": each.name, "scopes": each.scopes, "created": each.created} for each in entries])
    elif entries:
        rows = [(each.name, " ".join(each.scopes), each.created[:19]) for each in entries]
        print_table([("name", "scopes", "created (UTC)"), *rows])
    if not entries:
        raise Refused("there is no API key: `retune api-keys create NAME --scope predict` makes one")


@api_keys.command(epilog="Example: retune api-keys revoke helpdesk")
@click.argument("name")
def revoke(name: str) -> None:
    """Revoke a key: a running server refuses it from its next request on."""
    environment.activate_project()
    from retune.serving import api_keys as keys

    keys.revoke(name)
    click.echo(f"revoked the API key {name}")
