"""Commands of human review: write a blinded sheet of two answers or labels a row, and read its verdicts."""

import hashlib
import json
import secrets
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from flows.cli import review_feedback, review_labels
from flows.cli.groups import StrictGroup
from flows.cli.output import as_json, print_json, print_table
from flows.project import environment
from retune.errors import Refused, WrongUse

KEYS = "reviews"  # folder in .retune: the keys that say which side is which; no reviewer may see them


@click.group(cls=StrictGroup, commands=[review_labels.labels, review_feedback.feedback])
def review() -> None:
    """Let people compare versions, or judge rows and feedback."""


@review.command(epilog="Example: retune review export replies/2 replies/1 --rows 30")
@click.argument("models", nargs=-1, required=True, metavar="NAME/VERSION [NAME/VERSION]")
@click.option("--rows", type=click.IntRange(1), default=50, show_default=True, help="Rows to draw at random, at most.")
@click.option("--seed", type=int, help="Draws the rows and the sides. Keep it secret: it gives the sides away.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("review"),
    show_default=True,
    metavar="FOLDER",
    help="Folder to write to.",
)
@as_json
def export(models: tuple[str, ...], rows: int, seed: int | None, out: Path, json_: bool) -> None:
    """Write a blinded sheet of two versions' answers.

    Of one version, the other side is its base. Of labels, rows are drawn where they tell most, and the verdicts give
    the accuracy of both on all rows. The sheet is a CSV for a spreadsheet and a page for a browser, with the
    same rows; give either to the reviewers.
    """
    out = out.absolute()
    environment.activate_project()
    if len(models) > 2:
        raise WrongUse(f"{len(models)} versions do not fit side by side: name one, or two")
    from retune.evaluation import human_review
    from retune.lineage import record
    from retune.registry import versions

    chosen_versions = [versions.resolve(model) for model in models]
    folders = [versions.version_folder(version) for version in chosen_versions]
    records = [record.read(folder / record.FILE) for folder in folders]
    is_champion = len(records) == 2 and records[0]["gate"]["champion"] == str(chosen_versions[1])
    pairs = human_review.pairs(
        records[0],
        records[1] if len(records) == 2 else None,
        folders[0] / record.CHAMPION_SAID if is_champion else None,
    )
    other_side = str(chosen_versions[1]) if len(chosen_versions) == 2 else f"the base of {chosen_versions[0]}"
    sheet, key = human_review.draw_sheet(
        pairs, str(chosen_versions[0]), other_side, rows, secrets.randbits(32) if seed is None else seed
    )
    human_review.write_key(key, _keys())
    out.mkdir(parents=True, exist_ok=True)
    files = {"csv": out / f"review-{key.sheet}.csv", "page": out / f"review-{key.sheet}.html"}
    files["csv"].write_bytes(human_review.as_csv(sheet, key))
    files["page"].write_text(human_review.as_page(sheet, key), "utf-8")
    if json_:
        paths = {kind: str(path) for kind, path in files.items()}
        print_json({"sheet": key.sheet, "rows": len(sheet), "alike": key.alike, **paths})
        return
    others = f"{key.alike} more have the same answer twice"
    if key.is_of_labels:
        others = f"on {len(key.agreed)} both agree. Rows that differ, are unsure or new were likelier to be drawn"
    click.echo(f"{len(sheet)} rows of {key.ours} and {key.theirs}, sides shuffled; {others}")
    for path in files.values():
        click.echo(f"  {path}")
    click.echo("Read the verdicts with: retune review import FILE...")


@review.command("import", epilog="Example: retune review import review-1a2b.csv --confidence 0.9")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option(
    "--confidence",
    type=click.FloatRange(0.5, 1, max_open=True),
    default=0.95,
    show_default=True,
    help="Of the sign test, before a version counts as better or worse.",
)
@as_json
def import_(files: tuple[Path, ...], confidence: float, json_: bool) -> None:
    """Read reviewers' verdicts of one sheet, and record the result.

    FILE... holds one file a reviewer, or all in one.
    """
    files = tuple(path.absolute() for path in files)
    environment.activate_project()
    from retune.evaluation import human_review, human_verdicts
    from retune.registry import versions

    key = human_review.read_key(human_verdicts.sheet_of(files), _keys())
    verdicts = human_verdicts.read_verdicts(files, key)
    result = human_verdicts.score(verdicts, key, confidence)
    _write_down(versions.resolve(key.ours), human_verdicts.as_record(result, verdicts, key), str(result))
    if json_:
        print_json(asdict(result))
        return
    click.echo(str(result))
    if result.agreement:
        print_table([("reviewers", "rows", "agreed", "Cohen's kappa"), *map(_in_cells, result.agreement)])


def _keys() -> Path:
    from retune.registry.backend import state

    return state() / KEYS


def _in_cells(result: Any) -> tuple[str, ...]:
    kappa = "none: both gave one verdict throughout" if result.kappa is None else f"{result.kappa:.2f}"
    return " and ".join(result.reviewers), str(result.rows), f"{result.agreed:.0%}", kappa


def _write_down(version: Any, verdict: dict[str, Any], in_words: str) -> None:
    """Record the result in the run, the history and the version's tags, in this order; the same verdicts only once."""
    from retune.lineage import history
    from retune.lineage.entry_facts import Fact
    from retune.registry import runs, versions

    text = json.dumps(verdict, indent=2, ensure_ascii=False) + "\n"
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    chain = history.read(version.name)
    registered = chain.registered(version.version)
    if not registered:
        raise Refused(f"{version} has no entry in the history: its run was cut off; run that again, it goes on there")
    runs.log_text(version.run_id, text, f"review/{verdict['sheet']}.json")
    if not any(entry.verdicts == sha256 for entry in chain.entries):
        facts: dict[str, str] = {Fact.RECORD: registered.commit, Fact.SHEET: verdict["sheet"], Fact.VERDICTS: sha256}
        history.append(version.name, version.version, history.REVIEWED, [in_words], facts, versions.anchor)
    tags = {"review": verdict["verdict"], "review.sheet": verdict["sheet"], "review.told": in_words}
    versions.tag_version(version, tags)
