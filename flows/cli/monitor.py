"""The command that watches what is served."""

import math
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from flows.cli.output import as_json, print_json, print_table
from flows.project import environment
from retune.errors import Refused, WrongUse


@click.command(epilog="Example: retune monitor classifier --days 7 --html monitor.html")
@click.argument("name", required=False)
@click.option("--days", type=click.FloatRange(0, 36500, min_open=True), default=7.0, show_default=True, metavar="N",
              help="Days of traffic that are counted.")  # fmt: skip
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write the page to this file too.")
@as_json
def monitor(name: str | None, days: float, html: Path | None, json_: bool) -> None:
    """Show traffic, quality and drift of what is served.

    NAME: of a registered model; register.name if left out. Exit code 1 on an alarm: what is asked has changed in two
    windows in a row, or answers have become worse.
    """
    if math.isnan(days):
        raise click.BadParameter("nan is no number of days", param_hint="'--days'")
    html = html.absolute() if html else None
    environment.activate_project()
    from dataclasses import asdict

    from retune.config import params
    from retune.serving import database
    from tasks.monitor import report as reports

    config = params.load()
    now = datetime.now(UTC).timestamp()
    report = reports.report(database.find(), name or config.register.name, config.monitor, days, now)
    if html:
        _write_page(report, html, config.register.estimate.currency)
    if json_:
        print_json(asdict(report))
    else:
        _print(report, config.register.estimate.currency)
    if report.alarms:
        sys.exit(Refused.exit_code)


def _write_page(report: Any, html: Path, currency: str) -> None:
    from tasks.monitor.page import page

    try:
        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_text(page(report, currency), "utf-8")
    except OSError as error:
        raise WrongUse(f"--html {html} cannot be written: {error.strerror}") from None
    click.echo(f"written: {html}", err=True)


def _print(report: Any, currency: str) -> None:
    if report.traffic:
        rows: list[tuple[str, ...]] = [("version", "arm", "texts", "errors", "auto", "p50 ms", "p95 ms", "p99 ms")]
        for each in report.traffic:
            latencies = ("" if value is None else f"{value:.0f}" for value in (each.p50, each.p95, each.p99))
            automatic = f"{each.automatic / each.answers:.1%}"
            rows.append(
                (f"{report.name}/{each.version}", each.arm, str(each.answers), str(each.errors), automatic, *latencies)
            )
        print_table(rows)
    if report.cost is not None:
        click.echo(f"cost of these: {report.cost:.2f} {currency}")
    if report.rollout:
        click.echo(report.rollout)
    if report.windows:
        _print_quality(report)
        click.echo()
        print_table(
            [
                ("test", "reference", "last window", "size", "p", "adjusted", "verdict"),
                *map(_finding, report.windows[-1].findings),
            ]
        )
    for alarm in report.alarms:
        click.echo(f"ALARM: {alarm}")
    click.echo(f"{report.name}: {report.words}")


def _finding(finding: Any) -> tuple[str, ...]:
    test = finding.test
    if test.p is None:
        return (test.name, "", "", "", "", "", f"insufficient data: {test.lacks}")
    size = f"{test.effect_name} {test.effect:.3f}"
    return (test.name, test.before, test.now, size, f"{test.p:.2g}", f"{finding.q:.2g}", finding.verdict)


def _print_quality(report: Any) -> None:
    last = report.windows[-1]
    click.echo()
    print_table(
        [
            ("accuracy", "value", "of", "change"),
            ("on the test rows", _share(report.test_accuracy), str(report.test_accuracy.n), ""),
            ("estimated by confidence", _share(last.estimate), str(last.estimate.n), _fall(report.estimated)),
            ("estimated by threshold", _share(last.by_threshold), str(last.by_threshold.n), ""),
            ("found by reviewers", _share(report.measured.now), str(report.measured.now.n), _fall(report.measured)),
        ]
    )


def _share(share: Any) -> str:
    return "insufficient data" if share.value is None else f"{share.value:.3f} [{share.low:.3f}, {share.high:.3f}]"


def _fall(fall: Any) -> str:
    if fall is None or fall.value is None:
        return ""
    return f"{-fall.value:+.3f} against {fall.before.value:.3f}{', surely a loss' if fall.is_sure else ''}"
