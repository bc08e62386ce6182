"""Each window that was watched, as a run of the MLflow experiment NAME-served: its figures over time."""

from retune.monitoring import battery
from retune.registry import runs
from tasks.monitor.report import MonitorReport, WindowReport

EXPERIMENT = "{}-served"


def log_windows(report: MonitorReport, logged: str | None) -> str | None:
    """Log the windows that end after `logged`, ISO 8601. Returns the end of the last one that is logged now."""
    for number, window in enumerate(report.windows):
        if logged is None or window.end > logged:
            verdict, _ = battery.verdict([each.findings for each in report.windows[max(number - 1, 0) : number + 1]])
            tags = {"version": f"{report.name}/{report.version}", "verdict": verdict, "start": window.start}
            with runs.run(EXPERIMENT.format(report.name), window.end, {**tags, "end": window.end}) as run_id:
                runs.log_metrics(run_id, _metrics(window, verdict))
            logged = window.end
    return logged


def _metrics(window: WindowReport, verdict: str) -> dict[str, float]:
    values: dict[str, float | None] = {
        "texts": window.texts,
        "automatic": window.automatic,
        "drift": float(verdict == battery.DRIFT),
        "estimated_accuracy": window.estimate.value,
        "estimated_accuracy_atc": window.by_threshold.value,
    }
    for finding in window.findings:
        name = finding.test.name.replace(" ", "_")
        values |= {f"{name}_adjusted_p": finding.q, f"{name}_effect": finding.test.effect}
    return {name: float(value) for name, value in values.items() if value is not None}
