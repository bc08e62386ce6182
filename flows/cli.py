"""The `retune` command. Heavy things are imported inside the subcommand that needs them.

Exit codes: 0 yes, 1 the answer is no (refused data, failed gate, nothing found), 2 wrong use, 3 no answer
(something broke: a stage crashed, a store is away).
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import click

from flows import audit, home, operate, outside, steward, upkeep
from flows.terminal import as_json, print_json, print_table
from tasks.core.errors import Broken, Refused, RetuneError, WrongUse

MODULES = (audit, operate, outside, steward, upkeep)


@click.group(
    commands=[command for module in MODULES for command in module.COMMANDS],
    context_settings={"help_option_names": ["-h", "--help"]},
)
def retune() -> None:
    """From a business's own records to a fine-tuned, registered, explained model."""


@retune.command()
@click.argument("source")
@click.option("--text", metavar="COL", help="Column of the text; `text` if not given.")
@click.option("--label", metavar="COL", help="Column of the label; `label` if not given.")
@click.option("--id", "id_", metavar="COL", help="Column of the row's id; made from the content if not given.")
@click.option("--group", metavar="COL", help="Column of what must not be parted, such as the customer.")
@click.option("--split", metavar="COL|train|test", help="Column of the side, or one side for all rows.")
@click.option("--source", "name", metavar="NAME", help="Name of the source; the file's name if not given.")
@click.option("--licence", metavar="TEXT", help="Licence of the source, kept in data/raw and in every record.")
@click.option("--collected", metavar="WINDOW", help="When it was collected, such as 2026-03 or 2026-01-01/2026-03-31.")
@as_json
def ingest(
    source: str,
    text: str | None,
    label: str | None,
    id_: str | None,
    group: str | None,
    split: str | None,
    name: str | None,
    licence: str | None,
    collected: str | None,
    json_: bool,
) -> None:
    """Add records to data/raw: CSV, TSV, JSONL, JSON, Parquet, or hf:DATASET.

    The same file twice adds nothing. On any error data/raw is as it was.
    """
    if not source.startswith("hf:"):
        source = str(Path(source).absolute())
    home.enter()
    from flows import repair, stage
    from tasks.ingest import Columns, ingest

    columns = Columns(text, label, id_, group, split)
    with home.alone(home.BRIEFLY):
        for mended in repair.files():
            click.echo(f"repaired: {mended}", err=True)
        done = ingest(source, Path("data/raw"), columns, name, lambda: stage.track("data/raw"), licence, collected)
    if json_:
        print_json({**done.__dict__, "part": str(done.part) if done.part else None})
        return
    click.echo(
        f"received {done.received} rows: {done.added} added, {done.corrected} corrected, "
        f"{done.known + done.repeated} there already. data/raw holds {done.total} rows."
    )
    if done.unused:
        click.echo(f"columns not used: {', '.join(done.unused)}")


@retune.command()
@as_json
def plan(json_: bool) -> None:
    """Say which stages would run, and why; run nothing."""
    home.enter()
    from flows.plan import plan
    from tasks.core import params

    params.load()
    steps = plan()
    if json_:
        print_json({"stages": [step.__dict__ for step in steps]})
        return
    for step in steps:
        click.echo(f"{'run ' if step.run else 'skip'}  {step.name:10}{step.why[0] if step.why else 'nothing changed'}")
        for reason in step.why[1:]:
            click.echo(f"{'':16}{reason}")


@retune.command()
@click.option(
    "-S", "--set-param", "settings", multiple=True, metavar="section.key=value", help="Write into params.yaml."
)
@click.option("--name", metavar="NAME", help="Name of the registered model; writes register.name.")
@as_json
def run(settings: tuple[str, ...], name: str | None, json_: bool) -> None:
    """Run the lifecycle: curate, validate, split, train, evaluate, register, promote."""
    home.enter()
    from flows import settings as knobs

    with home.alone():  # a run that is at work reads params.yaml until its end
        knobs.write([*settings, *([f"register.name={json.dumps(name)}"] if name is not None else [])])
    if not Path("data/raw.dvc").exists():
        raise WrongUse("there are no records yet: `retune ingest FILE --text COLUMN --label COLUMN` brings them in")
    from flows import pipeline
    from tasks.core import registry

    outcome = pipeline.run()
    scores = registry.metrics(outcome.version)
    if json_:
        decision = outcome.decision
        told = {"new": outcome.new, "promoted": decision.promote, "awaiting": decision.awaiting}
        print_json({**told, "reasons": decision.reasons, "version": _as_json(outcome.version)})
    else:
        _tell_outcome(outcome, scores)
    if outcome.new and not (outcome.decision.promote or outcome.decision.awaiting):
        sys.exit(Refused.exit_code)


def _tell_outcome(outcome: Any, scores: dict[str, float]) -> None:
    version, decision = outcome.version, outcome.decision
    if not outcome.new:
        click.echo(f"Nothing changed since {version}; nothing new was registered.")
    else:
        held = "challenger, waiting for approval" if decision.awaiting else "challenger, the gate held it"
        click.echo(f"Registered {version}: {'champion' if decision.promote else held}.")
    if decision.awaiting:
        click.echo(f"It waits for `retune approve {version} --reason TEXT`, or reject.")
    rows: list[tuple[str, ...]] = [("model", "accuracy", "macro-F1", "calibration error")]
    for title, prefix in ((str(version), ""), ("probe", "probe_"), ("base, untouched", "base_")):
        names = ("accuracy", "macro_f1", "calibration_error")
        rows.append((title, *(_score(scores, f"{prefix}{name}") for name in names)))
    print_table(rows)
    for reason in decision.reasons:
        click.echo(f"  {reason}")
    click.echo(
        "\nLook at it:\n"
        "  MLflow UI    retune ui\n"
        "  report       python -m webbrowser -t models/reports/report.html\n"
        "  data docs    python -m webbrowser -t models/reports/data_docs/index.html\n"
        f'  predict      retune predict {version.name}@{"champion" if decision.promote else "challenger"} "some text"'
    )


def _score(scores: dict[str, float], name: str) -> str:
    if name not in scores:
        return "not recorded"
    return f"{scores[name]:.4f} [{scores.get(f'{name}_low', 0):.3f}, {scores.get(f'{name}_high', 1):.3f}]"


@retune.command()
@click.argument("name", required=False)
@as_json
def models(name: str | None, json_: bool) -> None:
    """List the registered versions, newest first."""
    home.enter()
    from tasks.core import registry

    found = registry.versions(name)
    if json_:
        print_json([_as_json(version) for version in found])
    elif found:
        rows: list[tuple[str, ...]] = [
            ("version", "aliases", "accuracy", "macro-F1", "gain over base", "train data", "created (UTC)")
        ]
        for version in found:
            scores = registry.metrics(version)
            told = [
                f"{scores[key]:.4f}" if key in scores else "?" for key in ("accuracy", "macro_f1", "gain_over_base")
            ]
            data = version.tags.get("data.train", "?")[:8]
            rows.append((str(version), " ".join(version.aliases), *told, data, version.created[:19]))
        print_table(rows)
    if not found:
        raise Refused(
            f"no model {repr(name) + ' ' if name else ''}is registered in {registry.address()}: `retune run` makes one"
        )


def _as_json(version: Any) -> dict[str, Any]:
    from tasks.core import registry

    scores = registry.metrics(version)
    base = {key.removeprefix("base_"): value for key, value in scores.items() if key.startswith("base_")}
    others = ("base_", "probe_", "train_", "val_", "system/")
    return {
        "name": version.name,
        "version": version.version,
        "aliases": list(version.aliases),
        "fingerprint": version.tags.get("fingerprint"),
        "created": version.created,
        "metrics": {key: value for key, value in scores.items() if not key.startswith(others)},
        "base_metrics": base,
        "probe_metrics": {
            key.removeprefix("probe_"): value for key, value in scores.items() if key.startswith("probe_")
        },
        "data": {side: version.tags.get(f"data.{side}") for side in ("raw", "train", "val", "test")},
    }


@retune.command()
@click.argument("model")
@click.argument("texts", nargs=-1, required=True, metavar="TEXT...")
@as_json
def predict(model: str, texts: tuple[str, ...], json_: bool) -> None:
    """Label and confidence of each TEXT; `-` reads one text a line from standard input.

    MODEL is NAME@ALIAS or NAME/VERSION.
    """
    home.enter()
    from tasks.core import registry

    wanted = [line.rstrip("\r\n") for line in sys.stdin] if texts == ("-",) else list(texts)
    folder = registry.model_folder(registry.resolve(model))
    if not wanted:
        raise Refused("there is no text to label: standard input was empty")
    from tasks.core.model import load

    said = load(folder).predict(wanted)
    rows = zip(wanted, said.labels, said.confidence.tolist(), strict=True)
    if json_:
        print_json([{"text": text, "label": label, "confidence": confidence} for text, label, confidence in rows])
    else:
        print_table(
            [("label", "confidence", "text"), *((label, f"{sure:.3f}", text[:80]) for text, label, sure in rows)]
        )


@retune.command()
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="Port on this machine.")
def ui(port: int) -> None:
    """Start the MLflow UI on the right store and say where it is."""
    home.enter()
    from flows.servers import ui

    ui.serve(port)


@retune.command()
@as_json
def doctor(json_: bool) -> None:
    """Check the installation and name what is wrong and how to mend it."""
    home.enter(services=False)
    from flows.doctor import examine

    findings = examine()
    if json_:
        print_json([finding.__dict__ for finding in findings])
    else:
        for finding in findings:
            click.echo(f"{'ok  ' if finding.ok else 'BAD '} {finding.name:14}{finding.found}")
            if not finding.ok:
                click.echo(f"{'':19}{finding.mend}")
    if not all(finding.ok for finding in findings):
        sys.exit(Refused.exit_code)


class Terminated(BaseException):
    """SIGTERM: whoever is at work ends what he started, as on Ctrl-C."""


def _terminated(*_: Any) -> None:
    raise Terminated


def main() -> None:
    signal.signal(signal.SIGTERM, _terminated)
    try:
        retune(standalone_mode=False)
    except RetuneError as error:
        _fail(f"retune: {error}", error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(WrongUse.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("retune: stopped", 130)
    except Terminated:
        _fail("retune: stopped", 143)
    except UnicodeEncodeError:
        _fail("retune: a word of the command, or what it names, is no UTF-8", WrongUse.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone: `| head`
    except OSError as error:
        _fail(f"retune: {error}", Broken.exit_code)
    except Exception as error:
        # A store or server that is away shows itself in a hundred classes; people need one line.
        if type(error).__module__.partition(".")[0] not in STORES:
            raise
        _fail(
            f"retune: {type(error).__name__}: {str(error).splitlines()[0]} (`retune doctor` checks)", Broken.exit_code
        )


STORES = ("httpx", "mlflow", "prefect", "requests", "sqlalchemy")


def _fail(message: str, code: int) -> None:
    click.echo(message, err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
