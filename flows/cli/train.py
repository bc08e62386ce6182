"""The commands of whoever makes a model and uses it: ingest, audit, plan, run, models, predict."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from flows.cli.output import as_json, on_one_line, print_json, print_table
from flows.project import environment
from retune.errors import Refused, WrongUse

VERDICTS = {"fits": "it fits", "tight": "it may not fit", "too large": "IT DOES NOT FIT, and training would not start"}


@click.command()
@click.argument("source")
@click.option("--text", metavar="COL", help="Column of the text, or the prompt; `text` if not given.")
@click.option("--label", metavar="COL", help="Column of the label, or the answer; `label` if not given.")
@click.option("--rejected", metavar="COL", help="Column of the worse answer, for task prefer.")
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
    rejected: str | None,
    id_: str | None,
    group: str | None,
    split: str | None,
    name: str | None,
    licence: str | None,
    collected: str | None,
    json_: bool,
) -> None:
    """Add records to data/raw: CSV, TSV, JSONL, JSON, Parquet, or hf:DATASET.

    Where a model is to write (`task` in params.yaml), the columns show the format: messages, prompt and completion,
    chosen and rejected, Alpaca or ShareGPT; --text and --label name others.
    The same file twice adds nothing. On any error data/raw is as it was.
    """
    if not source.startswith("hf:"):
        source = str(Path(source).absolute())
    environment.activate_project()
    from flows.execution import dvc, recovery
    from retune.config import params
    from tasks.ingest import Columns, ingest

    columns, task = Columns(text, label, id_, group, split, rejected), params.load().task
    with environment.project_lock(environment.BRIEFLY):
        for mended in recovery.files():
            click.echo(f"repaired: {mended}", err=True)
        done = ingest(
            source, Path("data/raw"), columns, name, lambda: dvc.track("data/raw"), licence, collected, task=task
        )
    if json_:
        print_json({**done.__dict__, "part": str(done.part) if done.part else None})
        return
    click.echo(
        f"received {done.received} rows: {done.added} added, {done.corrected} corrected, "
        f"{done.known + done.repeated} there already. data/raw holds {done.total} rows."
    )
    if task != "classify":
        click.echo(f"read as: {done.format}")
    if done.unused:
        click.echo(f"columns not used: {', '.join(done.unused)}")


@click.command()
@as_json
def audit(json_: bool) -> None:
    """Look at the tokens before any GPU second: lengths, what is learned of each row, steps, time, memory.

    Exit code 1 if a row would teach nothing, or not where to stop. Changes nothing.
    """
    environment.activate_project()
    from retune.config import params
    from tasks.preflight import PICTURE, run_preflight

    told = run_preflight(params.load())
    if json_:
        print_json({**told.report(), "picture": str(PICTURE)})
    else:
        _tell_audit(told, PICTURE)
    if not told.ok:
        sys.exit(Refused.exit_code)


def _tell_audit(told: Any, picture: Path) -> None:
    figures, effort = told.figures, told.effort
    share = {name: f"{value:.1%}" for name, value in figures["supervised_share"].items()}
    shown = ("min", "p5", "p50", "mean", "p95", "p99", "max")
    rows: list[tuple[str, ...]] = [(f"{figures['rows']} rows of {told.rows_from}", *shown)]
    for name, title in (("whole", "tokens"), ("prompt", "of the prompt"), ("answer", "of the answer")):
        rows.append((title, *(f"{figures['tokens'][name].get(key, 0):g}" for key in shown)))
    print_table([*rows, ("share that is learned", *(share.get(key, "none") for key in shown))])
    click.echo(
        f"\n{figures['longer_than_max_tokens']} longer than {figures['max_tokens']} tokens:"
        f" {figures['left_out']} left out, {figures['prompt_cut']} with a prompt cut;"
        f" {figures['special_tokens_in_words']} rows whose words hold a special token of the tokenizer"
    )
    if told.general:
        lengths = told.general["tokens"]["whole"]
        click.echo(
            f"{told.general['rows']} general examples, which are no rows: {lengths.get('mean', 0):g} tokens on "
            f"average, {lengths.get('max', 0):g} at most"
        )
    for finding in told.findings:
        such = f" Rows: {', '.join(finding.examples)}." if finding.examples else ""
        verdict = "ok     " if finding.success else "REFUSED"
        click.echo(f"{verdict}  {finding.name}: {finding.expected}; {finding.found}.{such}")
    click.echo(
        f"\nbase:      {told.base['name']}; licence: {told.base['licence']}"
        f"\nestimated: {effort.steps} steps over {effort.tokens} tokens, about {_time(effort.seconds)} on this machine,"
        f" {effort.bytes / 2**30:.1f} GiB of memory, {effort.trained_parameters:,} parameters trained"
        f"\nmemory:    on this machine {VERDICTS[told.memory.verdict]}: {told.memory.told}"
        f"\npicture:   {picture}"
    )


def _time(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


@click.command()
@as_json
def plan(json_: bool) -> None:
    """Say which stages would run, and why; run nothing."""
    environment.activate_project()
    from flows.execution.plan import plan
    from retune.config import params
    from retune.data import replay
    from retune.evaluation import multiple_choice

    chosen = params.load()
    replay.check(replay.files_of(chosen))
    multiple_choice.check(chosen)
    steps = plan()
    _tell_base(chosen)
    if json_:
        print_json({"stages": [step.__dict__ for step in steps]})
        return
    for step in steps:
        click.echo(f"{'run ' if step.run else 'skip'}  {step.name:10}{step.why[0] if step.why else 'nothing changed'}")
        for reason in step.why[1:]:
            click.echo(f"{'':16}{reason}")


def _tell_base(chosen: Any) -> None:
    """Whoever makes a model that writes decides under which licence it stands: its base's goes along."""
    if chosen.task != "classify":
        from retune.models import base_model

        name = chosen.train.base.name
        click.echo(f"base {name}; licence: {base_model.licence_here(name)}", err=True)


@click.command()
@click.option(
    "-S", "--set-param", "settings", multiple=True, metavar="section.key=value", help="Write into params.yaml."
)
@click.option("--name", metavar="NAME", help="Name of the registered model; writes register.name.")
@as_json
def run(settings: tuple[str, ...], name: str | None, json_: bool) -> None:
    """Run the lifecycle: curate, validate, split, train, evaluate, register, promote."""
    environment.activate_project()
    from flows.project import params_editor as knobs

    with environment.project_lock():  # a run that is at work reads params.yaml until its end
        knobs.write([*settings, *([f"register.name={json.dumps(name)}"] if name is not None else [])])
    if not Path("data/raw.dvc").exists():
        raise WrongUse("there are no records yet: `retune ingest FILE --text COLUMN --label COLUMN` brings them in")
    from retune.config import params

    chosen = params.load()
    _tell_base(chosen)
    from flows import pipeline
    from flows.retraining import outcome_report
    from retune.registry import versions

    outcome = pipeline.run()
    outcome_report.notify_manual_run(outcome, chosen.notify)
    scores = versions.metrics(outcome.version)
    if json_:
        decision = outcome.decision
        told = {"new": outcome.new, "promoted": decision.promote, "awaiting": decision.awaiting}
        print_json({**told, "reasons": decision.reasons, "version": _as_json(outcome.version)})
    else:
        _tell_outcome(outcome, scores, chosen.task)
    if outcome.new and not (outcome.decision.promote or outcome.decision.awaiting):
        sys.exit(Refused.exit_code)


def _tell_outcome(outcome: Any, scores: dict[str, float], task: str) -> None:
    from retune.evaluation import task_metrics

    version, decision = outcome.version, outcome.decision
    if not outcome.new:
        click.echo(f"Nothing changed since {version}; nothing new was registered.")
    else:
        held = "challenger, waiting for approval" if decision.awaiting else "challenger, the gate held it"
        click.echo(f"Registered {version}: {'champion' if decision.promote else held}.")
    if decision.awaiting:
        click.echo(f"It waits for `retune approve {version} --reason TEXT`, or reject.")
    titles = {name: title for name, title in task_metrics.METRIC_TITLES[task].items() if name in scores}
    rows: list[tuple[str, ...]] = [("model", *titles.values())]
    for title, prefix in ((str(version), ""), ("probe", "probe_"), ("base, untouched", "base_")):
        if any(f"{prefix}{name}" in scores for name in titles):
            rows.append((title, *(_score(scores, f"{prefix}{name}") for name in titles)))
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


@click.command()
@click.argument("name", required=False)
@as_json
def models(name: str | None, json_: bool) -> None:
    """List the registered versions, newest first."""
    environment.activate_project()
    from retune.evaluation import task_metrics
    from retune.registry import backend, versions

    found = versions.versions(name)
    if json_:
        print_json([_as_json(version) for version in found])
    elif found:
        rows: list[tuple[str, ...]] = [
            ("version", "aliases", "scores", "gain over base", "train data", "created (UTC)")
        ]
        for version in found:
            scores = versions.metrics(version)
            best = [f"{title} {value:.4f}" for title, value in task_metrics.headline(scores).items()][:2]
            gain = f"{scores['gain_over_base']:+.4f}" if "gain_over_base" in scores else "?"
            told = (", ".join(best) or "?", gain)
            data = version.tags.get("data.train", "?")[:8]
            rows.append((str(version), " ".join(version.aliases), *told, data, version.created[:19]))
        print_table(rows)
    if not found:
        raise Refused(
            f"no model {repr(name) + ' ' if name else ''}is registered in {backend.address()}: `retune run` makes one"
        )


def _as_json(version: Any) -> dict[str, Any]:
    from retune.registry import versions

    scores = versions.metrics(version)
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


@click.command()
@click.argument("name", metavar="TASK")
@click.option(
    "--from",
    "start",
    metavar="NAME@ALIAS|NAME/VERSION",
    help="The version that training goes on from, instead of a base.",
)
def task(name: str, start: str | None) -> None:
    """Write params.yaml for another TASK: instruct, or prefer --from a version that writes answers.

    With --from, instruct goes on from such a version too, instead of a base.
    What it held is kept by git, so an edit that git does not have is refused. Records of one task are none of another:
    if git has data/raw.dvc as it is, they leave the workspace, and git and the DVC store keep them.
    """
    environment.activate_project()
    from flows.project import switch_task

    with environment.project_lock():
        for told in switch_task.switch(name, start):
            click.echo(told)


@click.command()
@click.argument("model")
@click.argument("texts", nargs=-1, required=True, metavar="TEXT...")
@as_json
def predict(model: str, texts: tuple[str, ...], json_: bool) -> None:
    """Label, or answer, and confidence of each TEXT; `-` reads one text a line from standard input.

    MODEL is NAME@ALIAS or NAME/VERSION.
    """
    environment.activate_project()
    wanted = [line.rstrip("\r\n") for line in sys.stdin] if texts == ("-",) else list(texts)
    if not wanted:
        raise Refused("there is no text to answer: standard input was empty")
    for at, text in enumerate(wanted, start=1):
        if not text.strip():
            raise Refused(f"there is no text to answer: text {at} of {len(wanted)} is empty")
    from retune.registry import versions

    folder = versions.model_folder(versions.resolve(model))
    from retune.models import causal_lm, loading

    asked = loading.load(folder)
    if isinstance(asked, causal_lm.CausalLM):
        _tell_cut(asked.cut(wanted), len(wanted))
    said = asked.predict(wanted)
    rows = zip(wanted, said.labels, said.confidence.tolist(), strict=True)
    if json_:
        print_json([{"text": text, "label": label, "confidence": confidence} for text, label, confidence in rows])
    else:
        title = "label" if said.tokens is None else "answer"
        shown = ((on_one_line(label), f"{sure:.3f}", on_one_line(text[:80])) for text, label, sure in rows)
        print_table([(title, "confidence", "text"), *shown])


def _tell_cut(cut: list[Any], texts: int) -> None:
    for each in cut:
        click.echo(
            f"text {each.row + 1} of {texts} has {each.tokens} tokens with its template, and the model reads "
            f"{each.read}: its beginning is left out",
            err=True,
        )


COMMANDS = (task, ingest, audit, plan, run, models, predict)
