"""Commands for registered versions: models, predict."""

import sys
from typing import Any

import click

from flows.cli import explain
from flows.cli.groups import TextsCommand
from flows.cli.output import as_json, on_one_line, print_json, print_table
from flows.project import environment
from retune.errors import Refused, WrongUse


@click.command(epilog="Example: retune models")
@click.argument("name", required=False)
@as_json
def models(name: str | None, json_: bool) -> None:
    """List the registered versions, newest first."""
    environment.activate_project()
    from retune.evaluation import task_metrics
    from retune.registry import backend, versions

    registered = versions.versions(name)
    if json_:
        print_json([version_as_json(version) for version in registered])
    elif registered:
        rows: list[tuple[str, ...]] = [
            ("version", "aliases", "scores", "gain over base", "train data", "created (UTC)")
        ]
        for version in registered:
            scores = versions.metrics(version)
            best = [f"{title} {value:.4f}" for title, value in task_metrics.headline(scores).items()][:2]
            gain = f"{scores['gain_over_base']:+.4f}" if "gain_over_base" in scores else "?"
            quality = (", ".join(best) or "?", gain)
            data = version.tags.get("data.train", "?")[:8]
            rows.append((str(version), " ".join(version.aliases), *quality, data, version.created[:19]))
        print_table(rows)
    if not registered:
        raise Refused(
            f"no model {repr(name) + ' ' if name else ''}is registered in {backend.address()}: `retune run` makes one"
        )


def version_as_json(version: Any) -> dict[str, Any]:
    from retune.registry import versions

    scores = versions.metrics(version)
    others = ("base_", "champion_", "probe_", "train_", "val_", "system/")

    def of(prefix: str) -> dict[str, float]:
        return {key.removeprefix(prefix): value for key, value in scores.items() if key.startswith(prefix)}

    return {
        "name": version.name,
        "version": version.version,
        "aliases": list(version.aliases),
        "fingerprint": version.tags.get("fingerprint"),
        "created": version.created,
        "metrics": {key: value for key, value in scores.items() if not key.startswith(others)},
        "base_metrics": of("base_"),
        "probe_metrics": of("probe_"),
        "champion_metrics": of("champion_"),
        "data": {side: version.tags.get(f"data.{side}") for side in ("raw", "train", "val", "test")},
    }


@click.command(cls=TextsCommand, epilog='Example: retune predict classifier@champion "Where is my parcel?"')
@click.argument("model")
@click.argument("texts", nargs=-1, required=True, metavar="TEXT...")
@click.option("--explain", "why", is_flag=True, help="Show the words and the training rows that an answer rests on.")
@as_json
def predict(model: str, texts: tuple[str, ...], why: bool, json_: bool) -> None:
    """Predict a label, or generate an answer, for each TEXT.

    The route says who answers: auto, the model alone; human, a person, since the version does not promise enough.

    MODEL is NAME@ALIAS or NAME/VERSION. `-` reads one text a line from standard input. Write `--` before a word that
    begins with a dash.
    """
    environment.activate_project()
    prompts = _lines_of_input() if texts == ("-",) else list(texts)
    if not prompts:
        raise Refused("no text to predict: standard input is empty")
    for at, text in enumerate(prompts, start=1):
        if not text.strip():
            raise Refused(f"no text to predict: text {at} of {len(prompts)} is empty")
    from retune.registry import versions

    version = versions.resolve(model)
    folder = versions.model_folder(version)
    from retune.models import loading, routing

    network, rule = loading.load(folder), routing.read(folder)
    if hasattr(network, "truncated"):  # one that writes
        _warn_of_truncation(network.truncated(prompts), len(prompts))
    answers = network.predict(prompts)
    routes = rule.routes(answers.labels, answers.confidence)
    if not rule.promises:
        click.echo(f"every answer goes to a person: {rule.reason}", err=True)
    reasons = []
    if why:
        answered = list(zip(prompts, answers.labels, strict=True))
        reasons = explain.explanations(network, folder, versions.version_folder(version), answered)
    rows = zip(prompts, answers.labels, answers.confidence.tolist(), routes, strict=True)
    if json_:
        keys = ("text", "label", "confidence", "route")
        values = [dict(zip(keys, row, strict=True)) for row in rows]
        for value, reason in zip(values, reasons, strict=False):
            value["explanation"] = explain.as_json(version, reason)
        print_json(values)
    else:
        title = "label" if answers.tokens is None else "answer"
        table: list[tuple[str, ...]] = [(title, "confidence", "route", "text")]
        for text, label, confidence, route in rows:
            table.append((on_one_line(label), f"{confidence:.3f}", route, on_one_line(text[:80])))
        print_table(table)
        for text, reason in zip(prompts, reasons, strict=False):
            if len(prompts) > 1:
                click.echo(f"\n{on_one_line(text[:80])}")
            explain.show(version, reason)


def _lines_of_input() -> list[str]:
    """The lines of standard input. Raises WrongUse that names the first one that is not UTF-8."""
    lines = []
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            lines.append(line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n"))
        except UnicodeDecodeError as error:
            raise WrongUse(
                f"line {number} of standard input is not UTF-8: byte {error.start + 1} (0x{line[error.start]:02x}). "
                "Save the texts as UTF-8"
            ) from None
    return lines


def _warn_of_truncation(cut: list[Any], texts: int) -> None:
    for each in cut:
        click.echo(
            f"text {each.row + 1} of {texts} has {each.tokens} tokens with its template, and the model reads "
            f"{each.tokens_read}: its beginning is left out",
            err=True,
        )


def score(scores: dict[str, float], name: str) -> str:
    if name not in scores:
        return "not recorded"
    return f"{scores[name]:.4f} [{scores.get(f'{name}_low', 0):.3f}, {scores.get(f'{name}_high', 1):.3f}]"
