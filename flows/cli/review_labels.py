"""Commands that ask people about doubtful labels: `retune review labels`."""

import sys
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path

import click

from flows.cli.groups import StrictGroup
from flows.cli.output import as_json, print_json
from flows.project import environment
from retune.errors import Refused

NAMED = 10  # rows in a sentence


@click.group(cls=StrictGroup)
def labels() -> None:
    """Let people judge doubtful labels."""


@labels.command(epilog="Example: retune review labels export --rows 100")
@click.option("--rows", type=click.IntRange(1), default=50, show_default=True, help="The most doubtful ones, at most.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("review"),
    show_default=True,
    metavar="FOLDER",
    help="Folder to write to.",
)
@as_json
def export(rows: int, out: Path, json_: bool) -> None:
    """Write a sheet of the most doubtful labels.

    A CSV for a spreadsheet, and a page for a browser with a key for each verdict; give either to the reviewers.
    """
    out = out.absolute()
    environment.activate_project(services=False)
    from tasks.data_quality import review

    with redirect_stdout(sys.stderr):  # what long work says of itself
        sheet, files = review.export(rows, out, lambda line: click.echo(line, err=True))
    if json_:
        print_json({"sheet": sheet.name, "rows": len(sheet.rows), **{kind: str(path) for kind, path in files.items()}})
        return
    click.echo(f"{len(sheet.rows)} rows whose label is doubtful")
    for path in files.values():
        click.echo(f"  {path}")
    click.echo("Read the verdicts with: retune review labels import FILE...")


@labels.command("import", epilog="Example: retune review labels import review-1a2b-Ada.csv")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--allow-new", is_flag=True, help="Take labels that no row of the data has.")
@as_json
def import_(files: tuple[Path, ...], allow_new: bool, json_: bool) -> None:
    """Read reviewers' verdicts into data/label_verdicts.json.

    FILE... holds one file a reviewer, or all in one. Git keeps the verdicts, and the next curation applies them. A row
    that changed since, or on which reviewers disagree, is named and stays as it is. Exit code 1 if reviewers disagree.
    """
    files = tuple(path.absolute() for path in files)
    environment.activate_project(services=False)
    from flows.execution import raw_data
    from tasks.data_quality import review

    with environment.project_lock(environment.BRIEFLY):
        raw_data.require_merged()
        result = review.import_(files, allow_new, datetime.now(UTC).date().isoformat())
    lists = {name: getattr(result, name) for name in ("added", "replaced", "known", "changed", "conflicts")}
    if json_:
        print_json({**lists, "verdicts": len(result.verdicts)})
    else:
        click.echo(
            f"{len(result.added)} verdicts added, {len(result.replaced)} replaced, {len(result.known)} there already. "
            f"data/label_verdicts.json holds {len(result.verdicts)}."
        )
        if result.changed:
            some = ", ".join(result.changed[:NAMED])
            click.echo(
                f"not taken, as text or label changed since or no row has the id ({len(result.changed)}): {some}"
            )
        if result.added or result.replaced:
            click.echo("`git commit data/label_verdicts.json` keeps them; `retune run` applies them.")
    if result.conflicts:
        conflicts = "\n  ".join(result.conflicts)
        raise Refused(
            f"reviewers disagree on {len(result.conflicts)} rows, which stay as they are:\n  {conflicts}\n"
            "Settle these among the reviewers: import one verdict a row, or a new one of whose verdict stands"
        )
