"""What `retune predict --explain` prints of each answer."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from flows.cli.output import cut, on_one_line, print_table

WORDS = 8  # that carried the label most


def explanations(model: Any, folder: Path, version_folder: Path, answers: Sequence[tuple[str, str]]) -> list[Any]:
    """An explanation of each text and its label. folder: of the model, in that of its version."""
    from retune.lineage import record
    from retune.serving.explainer import Explainer

    explainer = Explainer(model, folder, record.read(version_folder / record.FILE))
    return [explainer.explain(text, label) for text, label in answers]


def as_json(version: Any, explanation: Any) -> dict[str, Any]:
    commands = {"version": f"retune lineage {version}", "record": f"retune verify {version}"}
    rows = [{**asdict(each), "lineage": _command(each.id)} for each in explanation.neighbours]
    words = [asdict(weight) for weight in explanation.words]
    return {"words": words, "neighbours": rows, "missing": explanation.missing, "lineage": commands}


def show(version: Any, explanation: Any) -> None:
    words = [f"{on_one_line(each.word)} {each.loss:+.3f}" for each in explanation.words[:WORDS]]
    click.echo(f"\nprobability that each word brought: {', '.join(words)}")
    if explanation.neighbours:
        click.echo("nearest rows that it learned from:")
        rows = [
            (each.id, f"{each.similarity:.3f}", each.label or "?", each.source or "?", _shown(each.text))
            for each in explanation.neighbours
        ]
        print_table([("row", "similarity", "label", "source", "text"), *rows])
    if explanation.missing:
        click.echo(explanation.missing)
    where = f"`retune lineage {version}` shows the version"
    nearest = explanation.neighbours[0].id if explanation.neighbours else None
    click.echo(where + (f", `{_command(nearest)}` the nearest row" if nearest else ""))


def _command(row: str) -> str:
    import shlex

    return f"retune lineage row {shlex.quote(row)}"


def _shown(text: str | None) -> str:
    return "text lost" if text is None else on_one_line(cut(text, 80))
