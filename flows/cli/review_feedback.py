"""Commands that ask people about served answers: `retune review feedback`."""

import sys
import tempfile
import time
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flows.cli.groups import StrictGroup
from flows.cli.output import as_json, print_json, print_table
from flows.project import environment
from retune.errors import Refused

if TYPE_CHECKING:
    from tasks.feedback.verdicts import Row

NAMED = 10  # rows in a sentence
MONTH = 30 * 86400.0  # seconds
MODEL = click.option("--model", metavar="NAME", help="Registered model; that of params.yaml if not given.")


@click.group(cls=StrictGroup)
def feedback() -> None:
    """Let people judge served answers."""


@feedback.command(epilog="Example: retune review feedback export --rows 100 --reviewers 2")
@MODEL
@click.option("--rows", type=click.IntRange(1), default=50, show_default=True, help="Answers to draw, at most.")
@click.option("--reviewers", type=click.IntRange(1, 20), default=1, show_default=True, help="People who share them.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("review"),
    show_default=True,
    metavar="FOLDER",
    help="Folder to write to.",
)
@as_json
def export(model: str | None, rows: int, reviewers: int, out: Path, json_: bool) -> None:
    """Write a sheet of the answers that were served since the last sheet.

    Drawn where they tell most: disputed ones and unsure ones are likelier, and none is left out for sure. A CSV and a
    page for each reviewer; `feedback.double_share` of the rows goes to two of them.
    """
    out = out.absolute()
    environment.activate_project()
    from retune.config import params
    from retune.serving import database
    from tasks.feedback import sheets

    config = params.load()
    name = model or config.register.name
    panel = sheets.Panel(reviewers, config.feedback.double_share)
    drawn = sheets.export(database.connect(), name, rows, panel, _labels(name), out, time.time())
    if json_:
        files = [str(path) for path in drawn.files]
        counts = {"rows": len(drawn.reviews), "requests": drawn.requests, "disputed": drawn.disputed}
        print_json({"sheet": drawn.sheet, **counts, "files": files})
        return
    click.echo(f"{len(drawn.reviews)} of {drawn.requests} answers since the last sheet; {drawn.disputed} are disputed")
    for path in drawn.files:
        click.echo(f"  {path}")
    click.echo("Read the verdicts with: retune review feedback import FILE...")


@feedback.command("import", epilog="Example: retune review feedback import feedback-1a2b-Ada.csv")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@MODEL
@click.option("--allow-new", is_flag=True, help="Take labels that the model does not have.")
@as_json
def import_(files: tuple[Path, ...], model: str | None, allow_new: bool, json_: bool) -> None:
    """Read reviewers' verdicts, and ingest the answers that they accept.

    FILE... holds one file a reviewer, or all in one. An accepted answer becomes a row of the source `feedback`, with
    the label that the reviewers gave. Of one person's feedback, `feedback.rows_per_person` rows count in 30 days; more
    of them wait. Exit code 1 if reviewers disagree.
    """
    files = tuple(path.absolute() for path in files)
    environment.activate_project()
    from flows.execution import raw_data
    from retune.config import params
    from retune.serving import database
    from retune.serving import feedback as store
    from tasks.feedback import verdicts

    raw_data.require_merged()
    config, engine = params.load(), database.connect()
    name = model or config.register.name
    result = verdicts.import_(engine, files, _labels(name), allow_new or config.task != "classify")
    rows, over_quota = verdicts.to_ingest(engine, name, config.feedback.rows_per_person, time.time() - MONTH)
    ingested = _ingest(rows, config) if rows else None
    store.mark_ingested(engine, [row.key for row in rows])
    if json_:
        judged = {"judged": len(result.judged), "known": result.known, "conflicts": result.conflicts}
        agreement = [asdict(each) for each in result.agreement]
        print_json({**judged, "ingested": len(rows), "waiting": over_quota, "agreement": agreement})
    else:
        click.echo(f"{len(result.judged)} verdicts added, {len(result.known)} there already.")
        if ingested:
            click.echo(
                f"{len(rows)} accepted rows: {ingested.added} added to data/raw as the source feedback, "
                f"{ingested.corrected} corrected, {ingested.known} there already. `retune run` learns from them."
            )
        if over_quota:
            some = ", ".join(over_quota[:NAMED])
            click.echo(f"waiting, as one person has brought feedback.rows_per_person rows ({len(over_quota)}): {some}")
        for pair in result.agreement:
            kappa = "none: one verdict throughout" if pair.kappa is None else f"{pair.kappa:.2f}"
            click.echo(f"{' and '.join(pair.reviewers)} agree on {pair.agreed:.0%} of {pair.rows} rows, kappa {kappa}")
    if result.conflicts:
        conflicts = "\n  ".join(result.conflicts)
        raise Refused(
            f"reviewers disagree on {len(result.conflicts)} answers, which wait:\n  {conflicts}\n"
            "Settle these among the reviewers: import one verdict an answer"
        )


@feedback.command(epilog="Example: retune review feedback status")
@MODEL
@as_json
def status(model: str | None, json_: bool) -> None:
    """Show what waits, and how good the answers of each week were.

    By the verdicts of reviewers on samples of the week's requests, with an interval.
    """
    environment.activate_project()
    from retune.config import params
    from retune.monitoring import reviewed_quality
    from retune.serving import database
    from retune.serving import feedback as store

    if model:
        _labels(model)  # refuses one that is not there
    config, engine = params.load(), database.connect()
    reviews = store.reviews(engine, model or config.register.name)
    pieces, drawn = store.of_answers(engine), {review.key for review in reviews}
    waiting = {
        "feedback": sum(len(each) for key, each in pieces.items() if key not in drawn),
        "unreviewed": sum(review.verdict is None for review in reviews),
        "to_ingest": sum(review.label is not None and not review.ingested for review in reviews),
    }
    weeks = reviewed_quality.by_week(reviews, config.evaluate.confidence)
    if json_:
        print_json({**waiting, "weeks": [asdict(week) for week in weeks]})
        return
    click.echo(
        f"{waiting['feedback']} pieces of feedback wait for a sheet, {waiting['unreviewed']} drawn answers for a "
        f"verdict, {waiting['to_ingest']} accepted ones to be ingested"
    )
    if weeks:
        print_table([("week", "accuracy", "interval", "verdicts"), *map(_in_cells, weeks)])


def _in_cells(week: Any) -> tuple[str, ...]:
    if week.accuracy is None:
        return week.week, "too few verdicts", "", ""
    accuracy = week.accuracy
    return week.week, f"{accuracy.value:.3f}", f"{accuracy.low:.3f} to {accuracy.high:.3f}", str(accuracy.n)


def _labels(name: str) -> list[str]:
    """Those of the champion; empty where a model writes."""
    from retune.models import manifest
    from retune.registry import versions

    read = manifest.read(versions.model_folder(versions.resolve(f"{name}@champion")))
    return sorted(read.labels) if isinstance(read, manifest.ClassifierManifest) else []


def _ingest(rows: "list[Row]", config: Any) -> Any:
    """Write the rows as a source and ingest it: once they are in data/raw, doing it again adds nothing."""
    from flows.execution import dvc
    from retune.data.row_mapping import Columns
    from retune.system.stage_io import write_json
    from tasks.ingest import Origin, Rules, ingest

    columns = Columns("text", "label", "id", None, None, "answer" if config.task == "prefer" else None)
    with tempfile.TemporaryDirectory() as folder, environment.project_lock(environment.BRIEFLY):
        source = Path(folder) / "feedback.json"
        write_json([{name: getattr(row, name) for name in ("id", "text", "label", "answer")} for row in rows], source)
        with redirect_stdout(sys.stderr):
            return ingest(
                str(source),
                Path("data/raw"),
                columns,
                Rules.of(config),
                Origin("feedback"),
                lambda: dvc.track("data/raw"),
            )
