"""Watches what is served, in a deployment of its own: tells people of a new alarm, and opens a review.

    retune monitor          the same figures, by hand

Each window is logged once as an MLflow run. The verdict stays in `.retune/monitor/`, where `retune retrain` finds a
loss of quality.
"""

from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.states import Failed

from flows.project import environment
from flows.retraining import notifications
from flows.scheduling import crash_alerts
from retune.config import params
from retune.config.params import Params
from retune.errors import Refused
from retune.serving import database, feedback, served_rows
from retune.serving.database import Engine
from tasks.feedback import sheets
from tasks.monitor import moved, run_log, verdict_file
from tasks.monitor import report as reports
from tasks.monitor.report import MonitorReport

DAYS = 7.0  # of traffic that a report counts
WEEK = DAYS * 24 * 3600  # seconds
REVIEW = Path("review")


@flow(name="monitor")
def monitor() -> Any:
    environment.activate_project()
    from datetime import UTC, datetime

    config, engine = params.load(), database.find()
    now = datetime.now(UTC).timestamp()
    report = watch(config, engine, now, crash_alerts.tell)
    get_run_logger().info("%s: %s", report.name, report.words)
    if report.alarms and not notifications.has_channel():
        get_run_logger().warning("no one is notified: %s", notifications.NO_CHANNEL)
    return Failed(message="; ".join(report.alarms)) if report.alarms else None


def watch(config: Params, engine: Engine | None, now: float, tell: crash_alerts.Tell) -> MonitorReport:
    """A notification that reaches nobody is sent again the next time. now: seconds since 1970."""
    name = config.register.name
    before = verdict_file.read(name)
    report = reports.report(engine, name, config.monitor, DAYS, now)
    lasts = bool(before.get("alarms")) and before.get("version") == report.version
    is_known = lasts and bool(before.get("told"))
    is_told, sheet = is_known, before.get("review", []) if lasts else []
    if engine and report.alarms and not lasts:
        sheet = _open_review(config, engine, report, now)
    if report.alarms and not is_known:
        more = [f"A reason to train again: {report.retrain}"] if report.retrain else []
        is_told = tell("unhealthy", f"What {name} answers needs a look", "\n".join([*report.alarms, *sheet, *more]))
    if is_known and not report.alarms:
        is_told = not tell("recovered", f"What {name} answers is as it was", report.words)
    if engine and report.version:
        _weekly_review(config, engine, now, tell)
    logged = run_log.log_windows(report, before.get("logged"))
    verdict_file.write(report, is_told, logged, sheet)
    return report


def _weekly_review(config: Params, engine: Engine, now: float, tell: crash_alerts.Tell) -> None:
    """Hand a sample of the answers since the last one to reviewers, once a week."""
    name, rows = config.register.name, config.feedback.weekly_rows
    first, _ = served_rows.first_and_last(engine, name) or (now, now)
    if not rows or now - max(first, feedback.last_drawn(engine, name)) < WEEK:
        return
    try:
        drawn = sheets.export(engine, name, rows, sheets.Panel(1, 0.0), (), REVIEW.absolute(), now)
    except Refused:  # nothing new that could be read
        return
    files = "\n".join(str(path) for path in drawn.files)
    tell("awaiting", f"{len(drawn.reviews)} answers of {name} wait for reviewers", files)


def _open_review(config: Params, engine: Engine, report: MonitorReport, now: float) -> list[str]:
    """A sentence for people, on the sheet of the texts that have moved most."""
    if not config.monitor.review_rows or not report.version:
        return []
    rows = moved.moved(engine, report.name, report.version, config.monitor, now)
    if not rows:
        return ["No text is kept that reviewers could look at: serve.log.text says what is."]
    panel = sheets.Panel(1, config.feedback.double_share)
    drawn = sheets.export_chosen(engine, report.name, rows, panel, REVIEW.absolute(), now)
    if not drawn:
        return ["The texts that moved most are on a sheet already."]
    files = ", ".join(str(path) for path in drawn.files)
    return [f"{len(drawn.reviews)} texts that moved most wait for reviewers: {files}"]
