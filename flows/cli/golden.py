"""Commands of golden cases: texts whose answer must never be wrong."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from flows.cli.groups import StrictGroup, TextsCommand
from flows.cli.output import as_json, cut, on_one_line, print_json, print_table
from flows.project import environment
from retune.errors import Refused, WrongUse


@click.group(cls=StrictGroup)
def golden() -> None:
    """Keep cases that a model must never get wrong."""


@golden.command(
    cls=TextsCommand, epilog='Example: retune golden add classifier/3 "Where is my parcel?" --expect shipping'
)
@click.argument("model", metavar="NAME/VERSION")
@click.argument("text")
@click.option("--expect", "label", metavar="LABEL", help="The label; of a model that writes, the whole answer.")
@click.option("--regex", metavar="PATTERN", help="A pattern that must match somewhere in the answer.")
@click.option("--schema", metavar="FILE", type=click.Path(path_type=Path), help="A JSON schema for the answer.")
@click.option("--not-contains", metavar="WORDS", help="Words that the answer must not contain, in any case.")
@click.option("--name", metavar="NAME", help="Name of the case; made from the text if not given.")
@as_json
def add(
    model: str,
    text: str,
    label: str | None,
    regex: str | None,
    schema: Path | None,
    not_contains: str | None,
    name: str | None,
    json_: bool,
) -> None:
    """Add a golden case, such as from a bad prediction.

    Shows what the version answers now. Writes the case into the file of evaluate.golden.path, and the file's hash into
    params.yaml; the next run asks each candidate, and the gate refuses one that answers otherwise.
    """
    schema = schema.absolute() if schema else None
    environment.activate_project()
    from flows.project import golden_file

    values = {"name": name, "text": text, "label": label, "regex": regex, "not_contains": not_contains}
    cells = {key: value or "" for key, value in values.items()} | {"schema": _schema(schema)}
    version, folder = _version(model)
    case = golden_file.new_case(cells, _labels(folder))
    predict = _predictor(folder)
    with environment.project_lock(environment.BRIEFLY):
        addition = golden_file.add(case, predict)
    result = addition.result
    if json_:
        print_json({"version": str(version), **asdict(result), "file": str(addition.path), "cases": addition.cases})
        return
    click.echo(
        f"{version} answers {on_one_line(cut(result.answer, 200))} ({result.confidence:.3f}): {_verdict(result)}"
    )
    click.echo(
        f"added {case.name!r} to {addition.path}, which holds {addition.cases}. Commit it with params.yaml; the next "
        "`retune run` asks each candidate"
    )


@golden.command("list", epilog="Example: retune golden list")
@as_json
def list_(json_: bool) -> None:
    """List the golden cases."""
    environment.activate_project(services=False)
    from flows.project import golden_file

    cases = golden_file.read()
    if json_:
        print_json([golden_file.as_json(case) for case in cases])
    elif cases:
        print_table([("case", "expected", "text"), *((each.name, *_short(each.expected, each.text)) for each in cases)])
    else:
        click.echo("There are no golden cases: `retune golden add NAME/VERSION TEXT --expect LABEL` adds one.")


@golden.command(epilog="Example: retune golden check classifier@champion")
@click.argument("model", metavar="NAME@ALIAS")
@as_json
def check(model: str, json_: bool) -> None:
    """Ask a registered version all golden cases.

    Exit code 1 if it fails one. Cases that came after it was registered count too.
    """
    environment.activate_project()
    from flows.project import golden_file

    if not (cases := golden_file.read()):
        raise Refused("there are no golden cases: `retune golden add NAME/VERSION TEXT --expect LABEL` adds one")
    version, folder = _version(model)
    results = golden_file.ask(cases, _predictor(folder)([case.text for case in cases]))
    failed = [result.name for result in results if result.problem]
    if json_:
        print_json(
            {"version": str(version), "cases": len(results), "failed": failed, "results": list(map(asdict, results))}
        )
    else:
        rows = ((each.name, _verdict(each), *_short(each.answer, each.text)) for each in results)
        print_table([("case", "result", "answer", "text"), *rows])
    if failed:
        raise Refused(f"{version} fails {len(failed)} of {len(results)} golden cases: {', '.join(map(repr, failed))}")


def _schema(path: Path | None) -> str:
    """The schema on one line, for its cell."""
    import json

    if not path:
        return ""
    try:
        return json.dumps(json.loads(path.read_text("utf-8")), ensure_ascii=False)
    except (OSError, ValueError) as error:
        raise WrongUse(f"--schema is {str(path)!r}, which is not a JSON file: {error}") from None


def _version(model: str) -> tuple[Any, Path]:
    from retune.registry import versions

    version = versions.resolve(model)
    return version, versions.model_folder(version)


def _labels(folder: Path) -> list[str] | None:
    from retune.models import manifest

    return getattr(manifest.read(folder), "labels", None)


def _predictor(folder: Path) -> Any:
    from retune.models import loading

    return loading.load(folder).predict


def _verdict(result: Any) -> str:
    return f"failed, {on_one_line(result.problem)}" if result.problem else "as expected"


def _short(*texts: str) -> tuple[str, ...]:
    return tuple(on_one_line(cut(text, 80)) for text in texts)
