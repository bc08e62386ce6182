"""Commands of a rollout: a version takes over from the champion step by step while both are served."""

import sys
from pathlib import Path
from typing import Any

import click

from flows.cli.groups import StrictGroup
from flows.cli.output import as_json, in_words, print_json, print_table, print_wrapped, require_reason
from flows.project import environment
from retune.errors import Refused
from retune.system import files, git

once_option = click.option("--once", is_flag=True, help="Look and decide once, for a scheduler; else until it ends.")
name_argument = click.argument("name", metavar="NAME")
ARMS = ("challenger", "champion")
METRICS = ("error", "corrected", "rating", "latency")


@click.group(cls=StrictGroup)
def rollout() -> None:
    """Let a version take over step by step, or roll it back."""


@rollout.command(epilog="Example: retune rollout start classifier/4 --steps shadow,1,5,25,50,100")
@click.argument("model", metavar="NAME/VERSION")
@click.option("--steps", metavar="LIST", help="What it goes through; rollout.steps of params.yaml if not given.")
@click.option("--metric", type=click.Choice(METRICS), help="What decides; rollout.metric if not given.")
@click.option("--reason", metavar="TEXT", callback=in_words, help="Why; kept in the history.")
@once_option
@as_json
def start(model: str, steps: str | None, metric: str | None, reason: str | None, once: bool, json_: bool) -> None:
    """Start a rollout, and decide each of its steps.

    The version must have passed the gate. Ctrl-C ends the deciding and nothing else: requests stay divided as they are
    until `retune rollout resume`. Exit code 1 if it is rolled back.
    """
    environment.activate_project()
    git.require_person()
    from flows import rollout as flow
    from retune.config import params
    from retune.registry import versions
    from retune.serving import database
    from tasks.rollout import requests

    config = params.load().rollout
    through = requests.steps(steps) if steps else tuple(config.steps)
    version = versions.resolve(model)
    flow.refuse_stale(version)
    started = requests.start(database.connect(), version, through, metric or config.metric, reason)
    click.echo(f"{started.version} is rolled out beside {started.rival}: {', '.join(map(str, through))}", err=True)
    _decide(version.name, once, json_)


@rollout.command(epilog="Example: retune rollout resume classifier")
@name_argument
@click.option("--reason", metavar="TEXT", callback=in_words, help="Why a paused one goes on; kept in the history.")
@once_option
@as_json
def resume(name: str, reason: str | None, once: bool, json_: bool) -> None:
    """Go on with a paused rollout, or with one whose process was ended.

    Exit code 1 if it is rolled back.
    """
    environment.activate_project()
    git.require_person()
    from retune.serving import database, rollouts
    from tasks.rollout import requests

    engine = database.connect()
    if requests.must_be_open(engine, name).state == rollouts.PAUSED:
        requests.resume(engine, name, reason or f"asked for by {git.identity()}")
    _decide(name, once, json_)


@rollout.command(epilog='Example: retune rollout pause classifier --reason "public holiday"')
@name_argument
@require_reason("the history")
@as_json
def pause(name: str, reason: str, json_: bool) -> None:
    """Keep a rollout at its step.

    Requests stay divided as they are, and it is still rolled back if it is worse, as long as its flow runs.
    """
    _change("pause", name, reason, json_)


@rollout.command(epilog='Example: retune rollout abort classifier --reason "wrong version"')
@name_argument
@require_reason("the history")
@as_json
def abort(name: str, reason: str, json_: bool) -> None:
    """End a rollout: the champion answers everybody again."""
    _change("abort", name, reason, json_)


@rollout.command(epilog="Example: retune rollout status classifier --html rollout.html")
@click.argument("name", metavar="NAME", required=False)
@click.option("--html", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write a page as well.")
@as_json
def status(name: str | None, html: Path | None, json_: bool) -> None:
    """Show where the rollout of a model is, why, and both versions beside each other.

    Exit code 1 if it was rolled back, and if there never was one.
    """
    html = html.absolute() if html else None
    environment.activate_project()
    from retune.config import params
    from retune.serving import database, rollouts
    from tasks.rollout import report

    config = params.load()
    engine, name = database.find(), name or config.register.name
    latest = rollouts.latest(engine, name) if engine else None
    if latest is None or engine is None:
        raise Refused(f"{name} has had no rollout: `retune rollout start {name}/VERSION` begins one")
    facts = report.describe(engine, latest, config.rollout)
    if html:
        from retune.documents import rollout_page

        files.write_bytes(html, rollout_page.render(facts).encode("utf-8"))
        click.echo(f"{html} has the page", err=True)
    if json_:
        print_json(facts)
    else:
        _print_status(facts)
    if latest.state == rollouts.ROLLED_BACK:
        sys.exit(Refused.exit_code)


def _decide(name: str, once: bool, json_: bool) -> None:
    environment.require_writable()
    from flows import rollout as flow
    from retune.serving import rollouts

    after = flow.run(name, once)
    if json_:
        print_json(_facts(after))
    else:
        click.echo(f"{after.version}: {after.state}, at {rollouts.in_words(after.step)}: {after.reason}")
    if after.state in (rollouts.ROLLED_BACK, rollouts.ABORTED):
        sys.exit(Refused.exit_code)


def _change(move: str, name: str, reason: str, json_: bool) -> None:
    environment.activate_project()
    git.require_person()
    from retune.serving import database, rollouts
    from tasks.rollout import requests

    after = {"pause": requests.pause, "abort": requests.abort}[move](database.connect(), name, reason)
    if json_:
        print_json(_facts(after))
    else:
        click.echo(f"{after.version}: {after.state}, at {rollouts.in_words(after.step)}")


def _facts(after: Any) -> dict[str, Any]:
    return {
        "name": after.model,
        "rollout": after.id,
        "version": after.version,
        "champion": after.rival,
        "state": after.state,
        "step": str(after.step),
        "reason": after.reason,
    }


def _print_status(facts: dict[str, Any]) -> None:
    click.echo(f"{facts['version']} beside {facts['champion']}: {facts['state']}, at {facts['step']}")
    print_wrapped(f"of {', '.join(facts['steps'])}; since {facts['since']}, begun {facts['began']} by {facts['by']}", 2)
    print_wrapped(f"{facts['reason']}", 2)
    if facts["next"]:
        print_wrapped(f"now: {facts['next']}", 2)
    if facts["arms"]:
        heads = ("arm", "version", "requests", "errors", "share of errors", "nobody reads", "latency ms")
        print_table([heads, *(_row(arm) for arm in facts["arms"])])
    for outcome in facts["outcomes"]:
        arms = [f"{arm} {_interval(outcome[arm]['mean'])} of {outcome[arm]['count']}" for arm in ARMS]
        difference = f"difference {_interval(outcome['difference'])}"
        print_wrapped(f"{outcome['name']}, {outcome['segment']}: {', '.join([*arms, difference])}", 2)


def _row(arm: dict[str, Any]) -> tuple[str, ...]:
    shares = (_interval(arm[name], 100, "%") for name in ("error_share", "automatic_share"))
    return arm["arm"], arm["version"], str(arm["requests"]), str(arm["errors"]), *shares, _interval(arm["latency_ms"])


def _interval(values: list[float | None] | None, factor: float = 1, unit: str = "") -> str:
    if values is None or values[0] is None:
        return "too few"
    value, low, high = (None if each is None else f"{factor * each:.3g}" for each in values)
    return f"{value}{unit}" if low is None else f"{value}{unit} [{low}, {high}]"
