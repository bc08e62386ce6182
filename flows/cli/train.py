"""Commands that make a model: task, preflight, plan, run."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from flows.cli.models import score, version_as_json
from flows.cli.output import (
    as_json,
    print_json,
    print_table,
)
from flows.project import environment
from retune.errors import Refused, WrongUse

VERDICTS = {
    "fits": "it fits",
    "tight": "it may not fit",
    "too large": "it does not fit, so training would not start",
}


@click.command(epilog="Example: retune task prefer --from replies@champion")
@click.argument("name", metavar="TASK")
@click.option(
    "--from",
    "start",
    metavar="NAME@ALIAS|NAME/VERSION",
    help="Version to continue training from, instead of a base.",
)
def task(name: str, start: str | None) -> None:
    """Write params.yaml for another TASK.

    TASK is instruct or prefer. With --from, training continues from a registered version; prefer needs one. An edit of
    params.yaml that git does not have is refused. Records of one task are of no use to another: if git has data/raw.dvc
    as it is, they leave the workspace, and git and the DVC store keep them.
    """
    environment.activate_project()
    from flows.execution import raw_data
    from flows.project import switch_task

    raw_data.require_merged()
    with environment.project_lock():
        for change in switch_task.switch(name, start):
            click.echo(change)


@click.command(epilog="Example: retune preflight --json")
@as_json
def preflight(json_: bool) -> None:
    """Check base, tokens, time and memory before training.

    For tasks that generate text: lengths, what each row teaches, steps, time and memory. For classify: how many texts
    are cut. Exit code 1 if a row would teach nothing, or not where to stop, or too many are cut. Changes nothing.
    """
    environment.activate_project()
    from flows.execution import raw_data
    from retune.config import params
    from tasks.preflight import PICTURE, AuditedTexts, run_preflight, run_text_preflight

    raw_data.require_merged()
    config = params.load()
    report = run_text_preflight(config) if isinstance(config, params.Classify) else run_preflight(config)
    if json_:
        print_json({**report.report(), "picture": str(PICTURE)})
    elif isinstance(report, AuditedTexts):
        _print_texts(report, PICTURE)
    else:
        _print_preflight(report, PICTURE, config.train)
    if not report.ok:
        sys.exit(Refused.exit_code)


def _print_texts(report: Any, picture: Path) -> None:
    lengths = report.figures["tokens"]["whole"]
    print_table(
        [(f"{report.figures['rows']} rows of {report.rows_from}", *lengths), ("tokens", *map(str, lengths.values()))]
    )
    click.echo()
    _print_findings(report)
    click.echo(f"\nbase:      {report.base['name']}; licence: {report.base['licence']}\npicture:   {picture}")


def _print_findings(report: Any) -> None:
    for finding in report.findings:
        such = f" Rows: {', '.join(finding.examples)}." if finding.examples else ""
        verdict = "ok     " if finding.success else "REFUSED"
        click.echo(f"{verdict}  {finding.name}: {finding.expected}; {finding.found}.{such}")


def _print_preflight(report: Any, picture: Path, train: Any) -> None:
    from retune.config.generation import turns_of
    from retune.data import answer_counts

    figures, effort = report.figures, report.effort
    share = {name: f"{value:.1%}" for name, value in figures["supervised_share"].items()}
    percentiles = ("min", "p5", "p50", "mean", "p95", "p99", "max")
    rows: list[tuple[str, ...]] = [(f"{figures['rows']} rows of {report.rows_from}", *percentiles)]
    for name, title in (("whole", "tokens"), ("prompt", "of the prompt"), ("answer", "of the answer")):
        rows.append((title, *(f"{figures['tokens'][name].get(key, 0):g}" for key in percentiles)))
    print_table([*rows, ("share that is learned", *(share.get(key, "none") for key in percentiles))])
    click.echo(
        f"\n{figures['longer_than_max_tokens']} longer than {figures['max_tokens']} tokens:"
        f" {figures['left_out']} left out, {figures['prompt_cut']} with a prompt cut;"
        f" {figures['special_tokens_in_words']} rows whose words hold a special token of the tokenizer"
    )
    for line in answer_counts.sentences(report.answers, turns_of(train)):
        click.echo(line)
    if report.general:
        lengths = report.general["tokens"]["whole"]
        click.echo(
            f"{report.general['rows']} general examples, besides the rows: {lengths.get('mean', 0):g} tokens on "
            f"average, {lengths.get('max', 0):g} at most"
        )
    _print_findings(report)
    click.echo(
        f"\nbase:      {report.base['name']}; licence: {report.base['licence']}"
        f"\nestimated: {effort.steps} steps over {effort.tokens} tokens, about {_duration(effort.seconds)} on this"
        f" machine,"
        f" {effort.bytes / 2**30:.1f} GiB of memory, {effort.trained_parameters:,} parameters trained"
        f"\nmemory:    on this machine {VERDICTS[report.memory.verdict]}: {report.memory.message}"
        f"\npicture:   {picture}"
    )


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


@click.command(epilog="Example: retune plan")
@as_json
def plan(json_: bool) -> None:
    """Say which stages would run, and why. Run nothing."""
    environment.activate_project()
    from flows.execution import environment_checks, raw_data
    from flows.execution.plan import plan
    from retune.config import params

    raw_data.require_merged()
    config = params.load()
    environment_checks.require(config)
    environment_checks.require_rows(config)
    steps = plan()
    _print_base(config)
    if json_:
        print_json({"stages": [step.__dict__ for step in steps]})
        return
    for step in steps:
        click.echo(f"{'run ' if step.run else 'skip'}  {step.name:10}{step.why[0] if step.why else 'nothing changed'}")
        for reason in step.why[1:]:
            click.echo(f"{'':16}{reason}")


def _print_base(config: Any) -> None:
    """Show the licence of a generative model's base: what is trained from it goes under the same licence."""
    from retune.data import task_data

    if not task_data.of(config.task).has_labels:
        from retune.models import base_model

        name = config.train.base.name
        click.echo(f"base {name}; licence: {base_model.licence_here(name)}", err=True)


@click.command(epilog="Example: retune run -S train.method=lora -S train.epochs=5")
@click.option(
    "-S", "--set-param", "settings", multiple=True, metavar="section.key=value", help="Write into params.yaml."
)
@click.option("--name", metavar="NAME", help="Name of the registered model; writes register.name.")
@as_json
def run(settings: tuple[str, ...], name: str | None, json_: bool) -> None:
    """Run the lifecycle, from curation to promotion.

    Curate, validate, split, train, evaluate, register, promote. Skips what has not changed. Exit code 1 if the gate
    holds a new version.
    """
    environment.activate_project()
    from flows.execution import environment_checks, raw_data
    from flows.project import params_editor

    raw_data.require_merged()  # before params.yaml is read
    with environment.project_lock():  # a run reads params.yaml until its end
        params_editor.write([*settings, *([f"register.name={json.dumps(name)}"] if name is not None else [])])
    if not Path("data/raw.dvc").exists():
        raise WrongUse("there are no records yet: `retune ingest FILE --text COLUMN --label COLUMN` brings them in")
    from retune.config import params

    config = params.load()
    environment_checks.require(config)  # the flow asks again, but its server takes a minute to start
    _print_base(config)
    from flows import pipeline
    from flows.retraining import outcome_report
    from retune.registry import versions

    outcome = pipeline.run()
    outcome_report.notify_manual_run(outcome, config.notify)
    scores = versions.metrics(outcome.version)
    if json_:
        decision = outcome.decision
        payload = {"new": outcome.new, "promoted": decision.promote, "awaiting": decision.awaiting}
        print_json({**payload, "reasons": decision.reasons, "version": version_as_json(outcome.version)})
    else:
        _print_outcome(outcome, scores, config.task)
    if outcome.new and not (outcome.decision.promote or outcome.decision.awaiting):
        sys.exit(Refused.exit_code)


def _print_outcome(outcome: Any, scores: dict[str, float], task: str) -> None:
    from retune.evaluation import report, task_metrics
    from tasks.register import run_page

    version, decision = outcome.version, outcome.decision
    if not outcome.new:
        click.echo(f"Nothing changed since {version}; nothing new was registered.")
    else:
        waiting_state = "challenger, waiting for approval" if decision.awaiting else "challenger, the gate held it"
        click.echo(f"Registered {version}: {'champion' if decision.promote else waiting_state}.")
    if decision.awaiting:
        click.echo(f"It waits for `retune approve {version} --reason TEXT`, or reject.")
    titles = {name: title for name, title in task_metrics.of(task).titles.items() if name in scores}
    rows: list[tuple[str, ...]] = [("model", *titles.values())]
    rank = "champion before" if decision.promote else "champion"
    champion = f"{decision.champion}, {rank}" if decision.champion else report.CHAMPION
    models = {str(version): "", champion: "champion_", "probe": "probe_", "base, untouched": "base_"}
    for title, prefix in models.items():
        if any(f"{prefix}{name}" in scores for name in titles):
            rows.append((title, *(score(scores, f"{prefix}{name}") for name in titles)))
    print_table(rows)
    for reason in decision.reasons:
        click.echo(f"  {reason}")
    click.echo(
        "\nLook at it:\n"
        "  MLflow UI    retune ui\n"
        f"  report       python -m webbrowser -t {run_page.REPORT if outcome.new else run_page.STAGE_REPORT}\n"
        "  data docs    python -m webbrowser -t models/reports/data_docs/index.html\n"
        f'  predict      retune predict {version.name}@{"champion" if decision.promote else "challenger"} "some text"'
    )
