"""From raw records to a registered model: one Prefect flow, one line a step.

Prefect's `@task` is put on here and nowhere else: the verbs in `tasks/` are plain Python. The stages that make
files run through the bridge, in processes of their own. DVC is the memory, so Prefect caches nothing.
"""

import json
import logging
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS

from flows.execution import disk_errors, dvc, environment_checks, plan, process_guard, recovery, run_context
from flows.project import environment
from retune.config import params
from retune.data import row_table, task_data
from retune.documents import data_card, data_report
from retune.errors import Broken, Refused, RetuneError
from retune.lineage import record
from retune.preflight import audit_settings, scored_rows
from retune.promotion import gate as gates
from retune.promotion import gate_record, latency
from retune.promotion.gate import Decision
from retune.registry import backend, clean_process, reload_check, runs, versions
from retune.system import dvc_pipeline, dvc_store, failpoints
from tasks.data_quality import report as quality_report
from tasks.promote import gate_decision, succession
from tasks.register import record_builder, register, run_page

T = TypeVar("T")
STAGES = ("curate", "validate", "split", "train", "evaluate")
OF_THE_ROWS = ("curate", "validate", "split")  # these refuse data; later stages refuse parameters or the machine
REPORTS = Path("models/reports")
TEST = Path("data/splits/test.parquet")
MODEL = Path("models/candidate")
CHAMPION_REPORT = Path(".retune/champion")
LATENCY = CHAMPION_REPORT / "latency.json"


class RefusedRows(Refused):
    """A stage refused the rows; the next run would refuse them again."""


@dataclass(frozen=True)
class Trigger:
    """The command that started a run, and why."""

    command: str
    why: tuple[str, ...]


@flow(name="retune")
def pipeline(command: str | None = None, because: Sequence[str] = ()) -> run_context.Outcome:
    """Run the lifecycle. A held candidate is an outcome; bad data and broken stages are raised.

    `command`: what a person would type for this; `because`: why it was started, if not by a person. Both are recorded.
    """
    config = params.load()
    environment_checks.require(config)
    with environment.project_lock():
        for repair in recovery.repair(config.register.name):
            get_run_logger().warning("repaired: %s", repair)
        environment_checks.require_rows(config)
        steps = plan.plan()
        started = Trigger(command or shlex.join(["retune", *sys.argv[1:]]), (*because, *reasons(steps)))
        return nothing_to_do(config, steps) or run_lifecycle(config, started)


def reasons(steps: Sequence[plan.Planned]) -> list[str]:
    return [f"{step.name}: {reason}" for step in steps for reason in step.why]


def run_lifecycle(config: params.Params, started: Trigger) -> run_context.Outcome:
    tags = {"method": config.train.method, runs.SOURCE: " ".join(started.command.split()[:2])}  # such as retune run
    with runs.run(config.register.name, run_context.run_name(), tags) as run_id:
        failpoints.point("run:opened")
        register.check_key()
        for name in STAGES[:-1]:
            run_stage(name, run_id)
        with clean_process.clean_process() as reader:  # it imports its packages while the last stage runs
            run_stage(STAGES[-1], run_id)
            origin = snapshot_workspace(run_id, started)
            with versions.turn():  # no other run may change the champion between the gate and the promotion
                version = versions.known(config.register.name, dvc_pipeline.fingerprint())
                version = version or run_register(config, origin, run_gate(config, run_id))
                decided = succession.decided(version)
                version_record = register.record_of_version(version)
                version = run_admit(config, run_id, version, version_record, reader)
                decision = decided or run_promote(config, version, version_record)
        failpoints.point("run:decided")
    return run_context.Outcome(versions.find(version.name, version=version.version), decided is None, decision)


def nothing_to_do(config: params.Params, steps: list[plan.Planned]) -> run_context.Outcome | None:
    """The outcome of this very workspace, if no stage would run and the gate has decided."""
    if any(step.run for step in steps):
        return None
    version = versions.known(config.register.name, dvc_pipeline.fingerprint())
    decision = succession.decided(version) if version else None
    return run_context.Outcome(version, False, decision) if version and decision else None


@task(task_run_name="{name}", cache_policy=NO_CACHE)
def run_stage(name: str, run_id: str) -> None:
    """Run one DVC stage as a task of its name, and log its progress as metrics of the run."""
    log = get_run_logger()
    failpoints.point(f"before:{name}")
    with progress_bar(name) as draw:

        def on_progress(step: int, of: int, values: dict[str, float]) -> None:
            runs.log_progress(run_id, step, values)
            draw(step, of, values)

        try:
            if name == "train":
                register.check_start()
                scored_rows.require(params.load(), TEST)
            force = name == "validate" and bool(audit_settings.changes(params.read(), REPORTS / "validate.json"))
            if not dvc.run(name, log.info, on_progress, force):
                log.info("%s: nothing changed, skipped", name)
        except RetuneError as error:
            keep_reasons(name, run_id, error)
            if name in OF_THE_ROWS and isinstance(error, Refused):
                raise RefusedRows(error.message, remedy=error.remedy, paths=error.paths) from None
            raise
    failpoints.point(f"after:{name}")


def keep_reasons(name: str, run_id: str, error: RetuneError) -> None:
    """Log to the run why it ended early, with the report of the stage that ended it."""
    runs.describe(run_id, f"{name} ended this run: {error}")
    data_docs = [REPORTS / "data_docs"] if name == "validate" else []
    runs.log_artifacts(run_id, [REPORTS / f"{name}.json", *data_docs], "reports")


@task(task_run_name="gate", cache_policy=NO_CACHE)
def run_gate(config: params.Params, run_id: str) -> record_builder.Gate:
    """Score the champion now, on the candidate's own test rows, by the same stage. A candidate that would replace it is
    timed beside it.
    """
    champion = versions.champion(config.register.name)
    tested = champion.tags.get("data.test") if champion else None
    champion_ids = dvc_store.table(tested, ["id"]) if tested else None
    champion_predictions, log = None, get_run_logger()
    if champion:
        dvc.score(versions.model_folder(champion), TEST, CHAMPION_REPORT, log.info)
        champion_predictions = row_table.read(CHAMPION_REPORT / "predictions.parquet")
    predictions = gate_record.with_source(row_table.read(REPORTS / "predictions.parquet"), row_table.read(TEST))
    ids = champion_ids["id"].to_pylist() if champion_ids is not None else None
    details = json.loads((REPORTS / "details.json").read_text("utf-8"))
    decision = gates.evaluate_gate(
        predictions,
        champion_predictions,
        config.promote,
        str(champion) if champion else None,
        ids,
        None if task_data.of(config.task).has_labels else gate_record.questions_of(details),
        gate_record.own_guardrails(details, config.promote),
    )
    if champion and decision.promote:
        dvc.measure(MODEL, versions.model_folder(champion), TEST, LATENCY, log.info)
        decision = gates.with_latency(decision, latency.parse(json.loads(LATENCY.read_text())), config.promote)
    runs.log_metrics(run_id, gate_record.run_metrics(decision))
    failpoints.point("gate:decided")
    return record_builder.Gate(
        decision, CHAMPION_REPORT if champion else None, tested if champion_ids is not None else None
    )


@task(task_run_name="record", cache_policy=NO_CACHE)
def snapshot_workspace(run_id: str, started: Trigger) -> record_builder.Origin:
    """Record the workspace, dirty or not, as a DVC experiment that touches no branch, and push its bytes."""
    if changed := dvc.status(dvc.AFTER_HOURS):  # edited by hand: ingest and forget wait for the end of a run
        raise Refused(f"{', '.join(changed)} changed during the run, so its result belongs to neither state. Run again")
    failpoints.point("record:checked")
    name = f"run-{dvc_pipeline.fingerprint()[:12]}"
    commit = dvc.save_record(name)
    failpoints.point("record:saved")
    push_or_leave_for_later()
    failpoints.point("record:pushed")
    return record_builder.Origin(run_id, run_context.prefect_run(), name, commit, started.command, started.why)


def push_or_leave_for_later() -> None:
    """Push the bytes. The training is done, so a remote that fails now keeps no version from the registry."""
    if not dvc_store.has_remote():
        return
    try:
        dvc.push()
    except Broken as error:
        recovery.leave_unpushed()
        get_run_logger().warning(
            "%s. The version is registered all the same, and its bytes are in the DVC cache of this machine alone: the "
            "next run pushes them, or `dvc push --all-tags` does",
            error,
        )


@task(task_run_name="register", cache_policy=NO_CACHE)
def run_register(config: params.Params, origin: record_builder.Origin, gate: record_builder.Gate) -> versions.Version:
    return register.register(config, origin, gate)


@task(task_run_name="admit", cache_policy=NO_CACHE)
def run_admit(
    config: params.Params,
    run_id: str,
    version: versions.Version,
    version_record: record.Record,
    reader: clean_process.Reader,
) -> versions.Version:
    for page in dict.fromkeys((run_id, *unfinished_page(version))):
        run_page.log_lifecycle(config, page, version_record)
        runs.name_after(page, version.version)
    report_data(config, version, run_id)
    failpoints.point("admit:logged")
    return register.admit(version, version_record, config.register, reader)


def report_data(config: params.Params, version: versions.Version, run_id: str) -> None:
    """Log the report on the data to the pages of a version. No version is lost because there is none."""
    try:
        data = quality_report.report(config, quality_report.of_champion(config.register.name))
    except RetuneError as error:
        get_run_logger().warning("no report on the data: %s", error)
        return
    for page in dict.fromkeys((run_id, *unfinished_page(version))):
        runs.log_text(page, data_report.page(data), data_card.REPORT)
    versions.tag_version(version, {versions.DATA: data_report.in_a_sentence(data)})


def unfinished_page(version: versions.Version) -> list[str]:
    """The run that registered the version, if it was killed before it logged anything about it."""
    return [] if reload_check.RELOADED in version.tags else [version.run_id]


@task(task_run_name="promote", cache_policy=NO_CACHE)
def run_promote(config: params.Params, version: versions.Version, version_record: record.Record) -> Decision:
    return gate_decision.promote(version, version_record, config.promote)


@contextmanager
def progress_bar(name: str) -> Iterator[Any]:
    """A progress bar on a terminal; elsewhere a line in the log now and then."""
    if not sys.stderr.isatty():
        log = get_run_logger()
        yield lambda step, of, values: log.info("%s %s/%s %s", name, step, of, _as_text(values))
        return
    from tqdm import tqdm

    with tqdm(desc=name, unit="step", disable=None, leave=False) as drawn:

        def draw(step: int, of: int, values: dict[str, float]) -> None:
            drawn.total = of
            drawn.set_postfix_str(_as_text(values), refresh=False)
            drawn.update(step - drawn.n)

        yield draw


def _as_text(values: dict[str, float]) -> str:
    return " ".join(f"{name}={value:.4g}" for name, value in values.items())


class PlainErrors(logging.Filter):
    """Leaves tracebacks of our own errors, and of a full disk, out of the log: the flow's caller reports them."""

    def filter(self, record: logging.LogRecord) -> bool:
        kind = record.exc_info[0] if isinstance(record.exc_info, tuple) else None
        if kind and (issubclass(kind, RetuneError) or disk_errors.is_full(str(record.exc_info[1]))):  # type: ignore[index]
            record.exc_info, record.exc_text = None, None
        return True


def run() -> run_context.Outcome:
    """Run the flow with plain errors."""
    open_registry_early()
    return run_with_plain_errors(pipeline)


def open_registry_early() -> None:
    """Open the registry in a thread while Prefect's server starts, once the tables of that server are imported.

    MLflow configures all tables that SQLAlchemy knows; half of Prefect's would fail, and again whenever they are used.
    """
    if not PREFECT_API_URL.value():
        import_server()
    backend.open_early()


def import_server() -> None:
    import prefect.server.api.server  # noqa: F401  (what Prefect's client imports to start one)


def run_with_plain_errors(call: Callable[[], T]) -> T:
    """Run a flow whose errors the caller reports in words, once."""
    backend.must_answer()
    plain = PlainErrors()
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(plain)
    process_guard.reap_on_exit()  # Prefect's temporary server would outlive a kill -9
    try:
        return call()
    except RuntimeError as error:  # Prefect has no error class for a server that does not answer
        if reason := _unanswered(str(error)):
            raise Broken(reason) from None
        raise


def _unanswered(message: str) -> str | None:
    """What to do about a Prefect server that does not answer; None if it is another error."""
    if "Failed to reach API" in message:
        return f"{message}: start that Prefect server, or unset PREFECT_API_URL (`retune doctor` checks)"
    if "ephemeral Prefect API server" in message:
        limit = PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS
        return (
            f"The temporary Prefect server did not answer within {limit.value()} s: {message} Run it again when the "
            f"machine is less busy, raise {limit.name}, or start a server with `retune up`"
        )
    return None
