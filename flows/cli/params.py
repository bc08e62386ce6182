"""Commands for params.yaml: explain, migrate, schema. Heavy imports stand where they are used."""

import json
import sys
from dataclasses import asdict
from typing import Any

import click

from flows.cli.groups import StrictGroup
from flows.cli.output import as_json, print_json, print_table, print_wrapped
from flows.project import environment
from retune.errors import Refused


@click.group(cls=StrictGroup)
def params() -> None:
    """Explain the parameters; rename old ones."""


@params.command(epilog="Example: retune params explain train.epochs")
@click.argument("name")
@as_json
def explain(name: str, json_: bool) -> None:
    """Explain a parameter or a section.

    Prints its description, type, allowed values, usual range and value now. NAME is its dotted path.
    """
    environment.activate_project(services=False)
    from retune.config import params, reference, renames

    values = renames.upgrade(params.read() or {})
    kind = params.type_of(values)
    task = next(task for task, each in params.TASKS.items() if each is kind)
    parameter = reference.parameter(task, name)
    if parameter.type == "section":
        below = [each for each in reference.parameters(task) if each.path.startswith(f"{parameter.path}.")]
        _print_section(parameter, below, json_)
        return
    value = None if "[]" in parameter.path else params.at(values, parameter.path)
    if json_:
        print_json({**asdict(parameter), "value": value})
        return
    print_wrapped(f"{parameter.path}: {parameter.description}")
    rows = [("type", parameter.type), ("allowed", parameter.allowed), ("usual", parameter.usual)]
    if "[]" not in parameter.path:
        rows.append(("value now", json.dumps(value, ensure_ascii=False, default=str)))
    print_table([row for row in rows if row[1]])


def _print_section(section: Any, below: list[Any], json_: bool) -> None:
    if json_:
        print_json({**asdict(section), "parameters": [asdict(each) for each in below]})
        return
    print_wrapped(f"{section.path}: {section.description}")
    print_table([(each.path, each.description) for each in below])


@params.command(epilog="Example: retune params migrate --check")
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if there is something to change.")
def migrate(check: bool) -> None:
    """Bring a params.yaml of an earlier release up to date: rename parameters, and add new ones.

    Comments, order and values stay. A file that is wrong in another way stays as it is.
    """
    environment.activate_project(services=False)
    from flows.project import migrate_params

    changes = migrate_params.migrate(write=not check)
    for change in changes:
        click.echo(change)
    if not changes:
        click.echo("Nothing to do: params.yaml is up to date.")
    elif check:
        sys.exit(Refused.exit_code)
    else:
        click.echo("params.yaml is rewritten; commit it to keep it.")


@params.command(epilog="Example: retune params schema > .retune/params.schema.json")
def schema() -> None:
    """Print the JSON schema of params.yaml, for editors.

    An editor with the YAML language server completes and checks the file if its first line is:

    \b
    # yaml-language-server: $schema=.retune/params.schema.json
    """
    from retune.config import reference

    print_json(reference.schema())
