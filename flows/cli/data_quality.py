"""Commands that look at the records themselves: answers, labels, report, show, sufficiency."""

import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from flows.cli.groups import StrictGroup
from flows.cli.lineage import print_row, require_bytes, row_as_json
from flows.cli.output import as_json, cut, on_one_line, print_json, print_table, print_wrapped, width
from flows.project import environment
from retune.errors import Refused, WrongUse

SHOWN = 20  # rows of a table
CELL = 60  # characters of a text in a table of several


@click.group(cls=StrictGroup)
def data() -> None:
    """Look at the quality of the records."""


@data.command(epilog="Example: retune data labels --limit 50")
@click.option("--outliers", is_flag=True, help="List the rows far from all others instead.")
@click.option("--confused", is_flag=True, help="List the pairs of labels that are hard to tell apart instead.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    help=f"Rows to list, however doubtful; without it {SHOWN} of the doubtful ones in the table, all in --json.",
)
@as_json
def labels(outliers: bool, confused: bool, limit: int | None, json_: bool) -> None:
    """List rows with a doubtful label, the worst first.

    Judges the curated rows by the frozen base of section train. Score: 0 to 1; from 0.5 on, the suggested label is as
    likely as the row's own. Nothing is changed: `retune review labels export` asks people.
    """
    if outliers and confused:
        raise WrongUse("--outliers and --confused are two lists: name one of them")
    environment.activate_project(services=False)
    from tasks.data_quality.labels import examine_clone

    with redirect_stdout(sys.stderr):  # what long work says of itself
        examination = examine_clone(_say)
    listed: list[Any] = examination.ranked if limit else examination.doubtful
    listed = examination.outliers if outliers else examination.confused if confused else listed
    if json_:
        print_json([asdict(each) for each in listed[:limit]])
        return
    visible = listed[: limit or SHOWN]
    if confused:
        _print_confused(visible)
    else:
        print_rows(visible)
    if rest := len(listed) - len(visible):
        click.echo(_more(rest, len(listed), limit))
    _print_tail(examination, alone=outliers or confused)


@data.command(epilog="Example: retune data answers --limit 50")
@click.option(
    "--contradictions", is_flag=True, help="List the pairs of preferences that contradict each other instead."
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    help=f"Rows to list, however doubtful; without it {SHOWN} of the doubtful ones in the table, all in --json.",
)
@as_json
def answers(contradictions: bool, limit: int | None, json_: bool) -> None:
    """List rows whose answer does not fit, the worst first.

    Of models that write: judges how near an answer is to its prompt, and to what like prompts got. Score: robust
    standard deviations by which it fits worse than usual; doubtful from 4 on. Nothing is changed.
    """
    environment.activate_project(services=False)
    from tasks.data_quality.answers import examine_clone

    with redirect_stdout(sys.stderr):  # what long work says of itself
        examination = examine_clone(_say)
    pairs = examination.contradictions
    listed: list[Any] = pairs if contradictions else examination.ranked if limit else examination.doubtful
    if json_:
        print_json([asdict(each) for each in listed[:limit]])
        return
    visible = listed[: limit or SHOWN]
    if visible:
        names = ("id", "other", "similarity", "text") if contradictions else ("id", "score", "text", "answer")
        cells = [[cut(on_one_line(str(getattr(each, name))), CELL) for name in names] for each in visible]
        print_table([names, *map(tuple, cells)])
    if rest := len(listed) - len(visible):
        click.echo(_more(rest, len(visible) + rest, limit))
    if pairs and not contradictions:
        such = f"{pairs[0].id} and {pairs[0].other}"
        click.echo(f"preferences that contradict each other: {len(pairs)} pairs, such as {such}: --contradictions")
    click.echo(
        f"{len(examination.doubtful)} of {examination.rows} answers are doubtful; judged in "
        f"{examination.seconds:.0f} s by {examination.base}"
    )


@data.command(epilog="Example: retune data report --html report.html")
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write a page for people."
)
@click.option("--forecast", is_flag=True, help="Judge labels and forecast what more rows would bring; takes minutes.")
@click.option(
    "--prompts",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Texts of production, one a line, to compare the rows with.",
)
@as_json
def report(html: Path | None, forecast: bool, prompts: Path | None, json_: bool) -> None:
    """Report what came in, what was dropped, what to do.

    Of the curated rows of this clone, and of those that are new since the champion. The page holds examples and plots;
    it is one file that needs no network.
    """
    html, texts = html.absolute() if html else None, _lines_of(prompts.absolute()) if prompts else None
    environment.activate_project()
    from retune.documents.data_report import page
    from retune.system.files import write_text
    from tasks.data_quality.report import of_clone

    with redirect_stdout(sys.stderr):  # what long work says of itself
        facts = of_clone(forecast, texts, _say)
    if html:
        write_text(html, page(facts))
    if json_:
        print_json(asdict(facts))
        return
    _print_report(facts)
    if html:
        click.echo(f"\npage: {html}")


def _lines_of(file: Path) -> list[str]:
    try:
        lines = [line for line in file.read_text("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise WrongUse(f"{file} is not UTF-8 from byte {error.start + 1} on: save the texts as UTF-8") from None
    if not lines:
        raise Refused(f"{file} holds no text: write one a line")
    return lines


def _print_report(facts: Any) -> None:
    came = facts.received + facts.unreadable
    click.echo(f"{facts.kept:,} of {came:,} rows kept; {facts.personal_rows:,} rows held personal data")
    dropped = [(each.reason, f"{each.rows:,}", each.meaning) for each in facts.dropped]
    if facts.unreadable:
        dropped.append(("unreadable", f"{facts.unreadable:,}", "could not be read"))
    if dropped:
        print_table([("dropped", "rows", "the row"), *dropped])
    if facts.drift:
        changes = [*facts.drift.labels, *facts.drift.sources, *facts.drift.words]
        click.echo(f"{facts.new_rows:,} rows are new since {facts.champion}")
        for each in changes:
            click.echo(f"  {on_one_line(each.name)}: {each.before:.1%} of the rows then, {each.now:.1%} now")
    if facts.production:
        lengths = facts.production.median_length
        click.echo(
            f"{facts.production_rows:,} texts of production: median length {lengths[1]:.0f}, rows {lengths[0]:.0f}"
        )
        for each in facts.production.words:
            click.echo(f"  {on_one_line(each.name)}: {each.before:.1%} of the rows, {each.now:.1%} of production")
    elif facts.production_rows is not None:
        click.echo(f"{facts.production_rows:,} texts of production are too few to compare, 30 are needed")
    for number, step in enumerate(facts.next_steps, start=1):
        click.echo(f"next, {number}: {step.title} (about {step.rows:,} rows)")
        print_wrapped(step.how, indent=4)


def _say(line: str) -> None:
    click.echo(line, err=True)


def print_rows(rows: list[Any]) -> None:
    """A table of rows of which each takes a line; the text has the room that is left."""
    if not rows:
        return
    lines = [(each.id, f"{each.score:.3f}", on_one_line(each.label), on_one_line(each.suggested)) for each in rows]
    head = ("id", "score", "label", "suggested")
    used = sum(max(map(len, column)) for column in zip(head, *lines, strict=True)) + 2 * len(head)
    texts = [cut(on_one_line(each.text), max(width() - used, 48)) for each in rows]
    print_table([(*head, "text"), *((*line, text) for line, text in zip(lines, texts, strict=True))])


def _print_confused(pairs: list[Any]) -> None:
    if pairs:
        lines = [
            (on_one_line(each.label), on_one_line(each.other), str(each.rows), f"{each.share:.0%}") for each in pairs
        ]
        print_table([("label", "looks like", "rows of both", "taken for the other"), *lines])


def _more(rest: int, total: int, limit: int | None) -> str:
    """What a table leaves out. With a limit the list is of all rows, without one --json has the whole of it too."""
    return f"… and {rest} more: --limit {total}{'' if limit else ' or --json'} lists them"


def _print_tail(examination: Any, alone: bool) -> None:
    for name, count in examination.unjudged.items():
        click.echo(f"not judged: {count} rows of {on_one_line(name)}, too few to judge a label by")
    if examination.reviewed:
        click.echo(f"not listed: {examination.reviewed} rows whose label a person has reviewed")
    if not alone:
        outliers, confused = examination.outliers, examination.confused
        if outliers:
            click.echo(f"{len(outliers)} rows are far from all others, such as {outliers[0].id}: --outliers")
        for pair in confused[:3]:
            click.echo(
                f"hard to tell apart: {on_one_line(pair.label)} and {on_one_line(pair.other)}, {pair.share:.0%} of "
                "whose rows look like the other's: --confused"
            )
    click.echo(
        f"{len(examination.doubtful)} of {examination.rows} rows have a doubtful label; judged in "
        f"{examination.seconds:.0f} s by {examination.base}"
    )


@data.command(epilog="Example: retune data show T-1017")
@click.argument("name", metavar="ID")
@as_json
def show(name: str, json_: bool) -> None:
    """Tell one row's story.

    How it came in, what each step of curation did with it, its split, and the versions that saw it, as `retune lineage
    row` has them. Texts are those without personal data. Exit code 1 if nothing has the id.
    """
    environment.activate_project()
    from tasks.data_quality import row_story
    from tasks.trace import search, verify

    story, answer = row_story.tell(name), search.row(name)
    if json_:
        print_json({**asdict(story), **row_as_json(answer)})
    else:
        _print_story(story)
        print_row(answer)
    verify.require_whole_history()
    require_bytes(answer)
    if not (story.arrivals or story.curated or story.steps or answer.versions):
        raise Refused(f"neither data/raw nor any version has a row {name!r}: check the spelling")


def _print_story(story: Any) -> None:
    for arrival in story.arrivals:
        split = f", for {arrival.given}" if arrival.given else ""
        click.echo(
            f"came in as row {arrival.row} of data/raw/{arrival.part}, source {on_one_line(arrival.source)}{split}, "
            f"label {cut(on_one_line(arrival.label), 100)}"
        )
        click.echo(f"  {cut(on_one_line(arrival.text), 500)}")
    for step in story.steps:
        if step.decision == "rejected":
            click.echo(f"rejected by curate: {step.name}{f' ({step.detail})' if step.detail else ''}")
    if story.curated:
        click.echo(
            f"passed all {len(story.steps)} steps of curation: label {cut(on_one_line(story.curated['label']), 100)}"
        )
        click.echo(f"  {cut(on_one_line(story.curated['text']), 500)}")
    if story.label_by:
        click.echo(f"its label: {story.label_by}")
    if not story.steps and story.arrivals:
        click.echo("not curated yet: `dvc repro curate`")
    if story.split:
        click.echo(f"on split {story.split}")
    if story.steps and story.outdated:
        click.echo(f"that was the last curation; since then changed: {', '.join(story.outdated)}")


@data.command(epilog="Example: retune data sufficiency")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Draw the curve as PNG.")
@as_json
def sufficiency(plot: Path | None, json_: bool) -> None:
    """Forecast what twice the rows would bring.

    Measures how the probe on the frozen base learns from growing shares of the curated rows, and goes on with that
    curve: overall, and of the recall of each label.
    """
    plot = plot.absolute() if plot else None
    environment.activate_project(services=False)
    from retune.evaluation import plots
    from tasks.data_quality.sufficiency import examine_clone

    with redirect_stdout(sys.stderr):  # what long work says of itself
        result = examine_clone(_say)
    if plot:
        now = result.doubled.accuracy - result.gain
        interval = (now + result.low, now + result.high)
        points = [(point.rows, point.accuracy) for point in result.curve]
        try:
            plot.parent.mkdir(parents=True, exist_ok=True)
            plots.sufficiency(points, (result.doubled.rows, result.doubled.accuracy, *interval), plot)
        except OSError as error:
            raise WrongUse(f"--plot {plot} cannot be written: {error.strerror}") from None
        click.echo(f"written: {plot}", err=True)
    if json_:
        print_json(asdict(result))
    else:
        _print_sufficiency(result)


def _print_sufficiency(result: Any) -> None:
    rows = [(f"{point.rows:,}", f"{point.accuracy:.4f}") for point in result.curve]
    forecast = (f"{result.doubled.rows:,}", f"{result.doubled.accuracy:.4f} forecast")
    print_table([("rows learned from", "accuracy of the probe"), *rows, forecast])
    click.echo(
        f"twice the rows: {_interval(result)} accuracy. Overall: {result.verdict}; measured in "
        f"{result.seconds:.0f} s by {result.base}"
    )
    needed = [need for need in result.by_label if need.collect]
    if needed:
        lines = [(on_one_line(need.verdict), str(need.rows), f"{need.recall:.3f}", _interval(need)) for need in needed]
        print_table([("label", "rows", "recall", "gain of recall"), *lines])
    if rest := len(result.by_label) - len(needed):
        click.echo(f"enough: {rest} labels; --json lists them")
    for name, count in result.unjudged.items():
        click.echo(f"not judged: {count} rows of {on_one_line(name)}, too few for a curve: collect more")


def _interval(gain: Any) -> str:
    return f"{gain.gain:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
