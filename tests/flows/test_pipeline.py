import json
import logging
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import pipeline
from flows.execution import dvc, recovery, run_context
from flows.execution.plan import Planned
from flows.project import environment
from retune.config import params
from retune.data import row_table
from retune.errors import Broken, Refused, RetuneError, WrongUse
from retune.lineage import ancestry, parent_version
from retune.preflight import audit_settings, scored_rows
from retune.promotion.gate import Decision
from retune.registry import clean_process, runs, versions
from retune.system import dvc_pipeline, dvc_store
from tasks.promote import gate_decision
from tasks.register import register, run_page
from tests.support.environment import ROOT
from tests.support.flow_recorder import FINGERPRINT, Recorder, predictions

CHOSEN = params.load(ROOT / "params.yaml")


@pytest.fixture
def recorder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".retune").mkdir()
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text("utf-8"), "utf-8")
    parent_version.write(None, tmp_path / parent_version.FILE)
    recording = Recorder()
    predictions_file = predictions(tmp_path / pipeline.REPORTS / "predictions.parquet", ours="right", base="wrong")
    (tmp_path / pipeline.REPORTS / "details.json").write_text("{}", "utf-8")
    row_table.write(predictions_file[["id"]].assign(source="desk"), tmp_path / pipeline.TEST)
    for name in ("run", "save_record", "score", "measure"):
        monkeypatch.setattr(dvc, name, getattr(recording, name))
    monkeypatch.setattr(pipeline.plan, "plan", recording.plan)
    monkeypatch.setattr(dvc_pipeline, "fingerprint", lambda: FINGERPRINT)
    monkeypatch.setattr(register, "register", recording.register)
    monkeypatch.setattr(register, "admit", recording.admit)
    monkeypatch.setattr(run_page, "log_lifecycle", lambda settings, run_id, record: recording.logged.append(run_id))
    monkeypatch.setattr(runs, "name_after", lambda run_id, version: None)
    monkeypatch.setattr(register, "record_of_version", lambda version: f"record of {version}")
    monkeypatch.setattr(gate_decision, "promote", recording.promote)
    monkeypatch.setattr(dvc_store, "has_remote", lambda: recording.remote)
    monkeypatch.setattr(dvc, "status", lambda patience: recording.edits)
    monkeypatch.setattr(pipeline.environment_checks, "CHECKS", ())
    monkeypatch.setattr(pipeline.recovery, "repair", lambda name: [])
    monkeypatch.setattr(dvc, "push", recording.push)
    monkeypatch.setattr(runs, "run", recording.mlflow_run)
    monkeypatch.setattr(versions, "turn", nullcontext)
    monkeypatch.setattr(clean_process, "clean_process", recording.clean_process)
    monkeypatch.setattr(runs, "describe", lambda run_id, markdown: recording.described.append(markdown))
    monkeypatch.setattr(runs, "log_artifacts", lambda run_id, paths, folder: recording.artifacts_logged.extend(paths))
    monkeypatch.setattr(versions, "find", recording.find)
    monkeypatch.setattr(versions, "known", recording.known)
    monkeypatch.setattr(versions, "champion", recording.champion)
    monkeypatch.setattr(versions, "model_folder", lambda version: Path(f"folder-{version.version}"))
    monkeypatch.setattr(
        runs, "log_metrics", lambda run_id, values, step=0: recording.metrics.append((run_id, step, values))
    )
    for name in ("run_stage", "run_gate", "snapshot_workspace", "run_register", "run_admit", "run_promote"):
        monkeypatch.setattr(pipeline, name, getattr(pipeline, name).fn)
    monkeypatch.setattr(pipeline, "get_run_logger", lambda: logging.getLogger("test"))
    return recording


RECORDED = ["curate", "validate", "split", "train", "evaluate", f"record run-{FINGERPRINT[:12]}"]
LIFECYCLE = [*RECORDED, "register", "admit"]


def test_the_road_goes_through_every_stage_to_the_registry(recorder):
    outcome = pipeline.pipeline.fn()
    assert recorder.did == [*LIFECYCLE, "promote True"]
    assert outcome.new and outcome.decision.promote
    assert str(outcome.version) == "classifier/1"
    assert recorder.ended == ["FINISHED"]


def test_the_stages_of_the_flow_are_those_of_dvc_yaml_in_an_order_that_dvc_allows():
    stages = dvc_pipeline.pipeline(ROOT / "dvc.yaml")
    assert sorted(pipeline.STAGES) == sorted(stages)
    stage_of = {}
    for name in pipeline.STAGES:
        needs = {stage_of[dep] for dep in stages[name]["deps"] if dep in stage_of}
        assert not [dep for dep in stages[name]["deps"] if dep in outputs_of(stages, after=name)], name
        assert needs <= set(pipeline.STAGES[: pipeline.STAGES.index(name)])
        stage_of |= dict.fromkeys(outputs(stages[name]), name)


def outputs(entry):
    paths = [*entry.get("outs", []), *entry.get("metrics", []), *entry.get("plots", [])]
    return [out if isinstance(out, str) else next(iter(out)) for out in paths]


def outputs_of(stages, after):
    later = pipeline.STAGES[pipeline.STAGES.index(after) :]
    return {out for name in later for out in outputs(stages[name])}


def test_the_version_is_told_where_it_comes_from(recorder):
    pipeline.pipeline.fn()
    assert recorder.origin.run_id == "run-1"
    assert recorder.origin.record_name == f"run-{FINGERPRINT[:12]}"
    assert recorder.origin.record_commit == "c0ffee"
    name, tags = recorder.opened
    assert (name, tags["method"]) == (CHOSEN.register.name, CHOSEN.train.method)
    assert tags[runs.SOURCE].startswith("retune")


def test_a_version_is_told_why_it_was_made(recorder, monkeypatch):
    steps = [Planned("curate", False, []), Planned("train", True, ["train.epochs: 3 → 5", "split runs before it"])]
    monkeypatch.setattr(pipeline.plan, "plan", lambda: steps)
    monkeypatch.setattr(sys, "argv", ["/somewhere/retune", "run", "-S", "train.epochs=5"])
    pipeline.pipeline.fn()
    assert recorder.origin.why == ("train: train.epochs: 3 → 5", "train: split runs before it")
    assert recorder.origin.command == "retune run -S train.epochs=5"


def test_the_bytes_are_pushed_before_the_version_is_registered_where_there_is_a_remote(recorder):
    recorder.remote = True
    pipeline.pipeline.fn()
    assert recorder.did[-5:] == [f"record run-{FINGERPRINT[:12]}", "push", "register", "admit", "promote True"]


def test_a_remote_that_fails_after_training_keeps_no_version_out_and_gets_its_bytes_with_the_next(recorder, caplog):
    recorder.remote, recorder.fails = True, {"push": Broken("dvc push failed: no route to host")}
    assert pipeline.pipeline.fn().new
    assert "no route to host" in caplog.text
    assert "dvc push --all-tags" in caplog.text
    recorder.fails, recorder.did = {}, []
    assert len(list(recovery.unpushed())) == 1
    assert list(recovery.unpushed()) == []
    assert recorder.did == ["push --all-tags"]


def test_a_check_that_fails_ends_the_run_before_any_stage(recorder, monkeypatch):
    def away(_):
        raise Broken("the remote is away")

    checks = (pipeline.environment_checks.EnvironmentCheck("remote", away),)
    monkeypatch.setattr(pipeline.environment_checks, "CHECKS", checks)
    with pytest.raises(Broken, match="the remote is away"):
        pipeline.pipeline.fn()
    assert recorder.did == []


def test_what_changed_under_the_run_is_not_recorded(recorder):
    recorder.edits = {"curate": [{"changed deps": {"data/suppressed.json": "modified"}}]}
    with pytest.raises(Refused, match="curate changed during the run"):
        pipeline.pipeline.fn()
    assert recorder.did == [*pipeline.STAGES]
    assert recorder.versions == []


def test_a_key_that_cannot_sign_is_refused_before_training(recorder, monkeypatch, tmp_path):
    monkeypatch.setenv("RETUNE_SIGNING_KEY", str(tmp_path / "nowhere.pem"))
    with pytest.raises(WrongUse, match=r"nowhere\.pem cannot be read"):
        pipeline.pipeline.fn()
    assert recorder.did == []


def test_progress_becomes_metrics_of_the_run_step_by_step(recorder):
    pipeline.pipeline.fn()
    metrics = [(step, values) for run_id, step, values in recorder.metrics if "curves/train_loss" in values]
    assert metrics == [(1, {"curves/train_loss": 0.5}), (2, {"curves/train_loss": 0.25})]
    assert {run_id for run_id, _, _ in recorder.metrics} == {"run-1"}


@pytest.mark.parametrize(
    ("failing", "error"),
    [("validate", Refused("bad data")), ("train", Broken("no memory")), ("evaluate", KeyboardInterrupt())],
)
def test_what_ends_a_stage_ends_the_road(recorder, failing, error):
    recorder.fails[failing] = error
    with pytest.raises(type(error)):
        pipeline.pipeline.fn()
    assert recorder.did == list(pipeline.STAGES[: pipeline.STAGES.index(failing) + 1])
    assert recorder.ended == ["FAILED"]
    assert recorder.versions == []
    is_own_error = isinstance(error, RetuneError)  # an interrupt has no reason to tell
    assert recorder.described == [f"{failing} ended this run: {error}"] * is_own_error
    assert (pipeline.REPORTS / f"{failing}.json" in recorder.artifacts_logged) == is_own_error


def test_a_start_that_must_not_be_continued_ends_the_road_before_training_has_cost_anything(recorder, monkeypatch):
    def tainted():
        raise ancestry.Incompatible("cannot continue from classifier/1")

    monkeypatch.setattr(register, "check_start", tainted)
    with pytest.raises(ancestry.Incompatible):
        pipeline.pipeline.fn()
    assert recorder.did == ["curate", "validate", "split"]
    assert recorder.ended == ["FAILED"]
    assert recorder.described == ["train ended this run: cannot continue from classifier/1"]


def test_a_test_split_that_cannot_give_the_score_ends_the_road_there_too(recorder, monkeypatch):
    def unscorable(config, test):
        raise Refused(f"{test} has no pair for {config.promote.metric}")

    monkeypatch.setattr(scored_rows, "require", unscorable)
    with pytest.raises(Refused, match="has no pair for macro_f1"):
        pipeline.pipeline.fn()
    assert recorder.did == ["curate", "validate", "split"]


def test_validation_runs_again_where_it_counted_tokens_by_other_settings(recorder):
    pipeline.pipeline.fn()
    assert recorder.forced == []
    writing = (ROOT / "retune/config/defaults/instruct.yaml").read_text("utf-8")
    Path("params.yaml").write_text(writing, "utf-8")
    before = audit_settings.of(params.read()) | {"train.turns": "last"}
    (pipeline.REPORTS / "validate.json").write_text(json.dumps({audit_settings.KEY: before}))
    pipeline.run_stage("validate", "run-1")
    pipeline.run_stage("split", "run-1")
    assert recorder.forced == ["validate"]


def test_the_process_that_loads_the_model_again_imports_while_the_last_stage_runs(recorder):
    pipeline.pipeline.fn()
    assert recorder.readers == ["began after train", "ended after promote True"]


@pytest.mark.parametrize(
    ("failing", "readers"), [("train", []), ("evaluate", ["began after train", "ended after evaluate"])]
)
def test_it_does_not_outlive_a_flow_that_fails(recorder, failing, readers):
    recorder.fails[failing] = Broken("no memory")
    with pytest.raises(Broken):
        pipeline.pipeline.fn()
    assert recorder.readers == readers


def test_nothing_changed_and_decided_before_is_told_and_nothing_happens(recorder):
    recorder.stages_changed = False
    version = recorder.add(FINGERPRINT, ("champion",), decision="champion", **{"reason.1": "it beats the base"})
    outcome = pipeline.pipeline.fn()
    assert outcome == run_context.Outcome(version, False, Decision(True, ("it beats the base",)))
    assert recorder.did == [] and recorder.ended == []


def test_nothing_changed_but_never_registered_goes_the_whole_road(recorder):
    recorder.stages_changed = False
    assert pipeline.pipeline.fn().new
    assert recorder.did == [*LIFECYCLE, "promote True"]


def test_a_version_whose_gate_was_cut_off_is_decided_now(recorder):
    recorder.stages_changed = False
    recorder.add(FINGERPRINT, ("challenger",))
    outcome = pipeline.pipeline.fn()
    assert recorder.did == [*RECORDED, "admit", "promote True"]
    assert len(recorder.versions) == 1 and outcome.new
    assert recorder.logged == ["run-1"]


def test_a_stage_that_ran_and_made_the_same_is_not_decided_twice(recorder):
    recorder.add(FINGERPRINT, ("champion",), decision="champion")
    outcome = pipeline.pipeline.fn()
    assert recorder.did == [*RECORDED, "admit"]
    assert not outcome.new


def test_the_champion_is_scored_on_the_candidates_own_test_rows(recorder):
    recorder.add("e" * 64, ("champion",))
    recorder.predictions["folder-1"] = predictions(None, ours="wrong")
    outcome = pipeline.pipeline.fn()
    assert f"score folder-1 on {pipeline.TEST}" in recorder.did
    assert f"measure {pipeline.MODEL} beside folder-1 on {pipeline.TEST}" in recorder.did
    assert outcome.decision.promote
    gains = {name: value for _, _, values in recorder.metrics for name, value in values.items() if "/" not in name}
    assert gains == {"gain_over_base": 1.0, "gain_over_champion": 1.0, "latency_ratio": 1.0}
    assert recorder.gate.champion_test is None
    assert "not kept any more" in " ".join(outcome.decision.reasons)


def test_the_rows_that_the_champion_was_tested_on_are_known_by_its_own_test_side(recorder, monkeypatch):
    recorder.add("e" * 64, ("champion",), **{"data.test": "7" * 32})
    recorder.predictions["folder-1"] = predictions(None, ours="wrong")
    sides = {"7" * 32: pa.table({"id": ["r0", "r1", "r2", "elsewhere"]})}
    monkeypatch.setattr(dvc_store, "table", lambda md5, columns: sides.get(md5))
    decision = pipeline.pipeline.fn().decision
    assert {bound.name: bound.rows for bound in decision.guardrails if bound.name in ("known", "new")} == {
        "known": 3,
        "new": 37,
    }
    assert recorder.gate.champion_test == "7" * 32


def test_a_slow_candidate_is_held(recorder):
    recorder.add("e" * 64, ("champion",))
    recorder.predictions["folder-1"] = predictions(None, ours="wrong")
    recorder.ratio = 1.7
    decision = pipeline.pipeline.fn().decision
    assert not decision.promote and not decision.worse
    assert "ratio 1.70, above the bound of 1.5" in decision.reasons[-1]


def test_a_tie_with_the_champion_is_held(recorder):
    recorder.add("e" * 64, ("champion",))
    recorder.predictions["folder-1"] = predictions(None, ours="right")
    outcome = pipeline.pipeline.fn()
    assert outcome.new and not outcome.decision.promote and recorder.did[-1] == "promote False"
    assert not [did for did in recorder.did if did.startswith("measure")], "it is held anyway: no time is spent on it"
    assert recorder.ended == ["FINISHED"]  # a held candidate is an outcome, not a failure


def test_a_champion_that_is_the_candidate_itself_is_no_rival(recorder):
    recorder.add(FINGERPRINT, ("champion",))  # cut off after its alias had moved
    assert pipeline.pipeline.fn().decision.promote
    assert not [did for did in recorder.did if did.startswith("score")]


def test_a_candidate_no_better_than_the_base_is_held(recorder):
    predictions(pipeline.REPORTS / "predictions.parquet", ours="right", base="right")
    assert not pipeline.pipeline.fn().decision.promote


def test_a_candidate_that_fails_a_golden_case_is_held_by_its_name(recorder):
    (pipeline.REPORTS / "details.json").write_text('{"golden": [{"name": "refund", "problem": "says spam"}]}', "utf-8")
    decision = pipeline.pipeline.fn().decision
    assert not decision.promote and "refund" in decision.reasons[-1]


HOLD = "import sys, filelock\nwith filelock.FileLock(sys.argv[1]):\n  print('held', flush=True)\n  sys.stdin.read()\n"


def test_two_runs_in_one_folder_do_not_go_together(recorder):
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(environment.LOCK)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(Broken, match="another run, ingest or forget is running"):
            pipeline.pipeline.fn()
        assert recorder.did == [] and recorder.ended == []
    finally:
        other.kill()
        other.communicate()
    assert pipeline.pipeline.fn().new  # a lock goes with its process


def test_our_own_errors_leave_no_traceback_in_the_log_and_others_do():
    def filtered(error):
        record = logging.LogRecord("x", logging.ERROR, "x", 1, "it failed", (), (type(error), error, None))
        assert pipeline.PlainErrors().filter(record)
        return record.exc_info

    assert filtered(Refused("bad data")) is None
    assert filtered(ValueError("a bug")) is not None


def test_a_bar_where_nobody_watches_is_lines_in_the_log(monkeypatch, caplog):
    monkeypatch.setattr(pipeline, "get_run_logger", lambda: logging.getLogger("test"))
    monkeypatch.setattr(
        sys, "stderr", SimpleNamespace(isatty=lambda: False, write=lambda text: None, flush=lambda: None)
    )
    with caplog.at_level(logging.INFO), pipeline.progress_bar("train") as draw:
        draw(3, 10, {"train_loss": 0.123456})
    assert caplog.messages == ["train 3/10 train_loss=0.1235"]


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ("Failed to reach API at http://127.0.0.1:9/api", "unset PREFECT_API_URL"),
        (
            "Timed out while attempting to connect to ephemeral Prefect API server.",
            r"did not answer within 20 s: .* raise PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS",
        ),
    ],
)
def test_a_prefect_server_that_does_not_answer_is_told_in_words(monkeypatch, message, remedy):
    def call():
        raise RuntimeError(message)

    monkeypatch.setenv("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "20")
    monkeypatch.setattr(pipeline.backend, "must_answer", lambda: None)
    with pytest.raises(Broken, match=remedy):
        pipeline.run_with_plain_errors(call)


@pytest.mark.parametrize(("address", "imported"), [("", ["import"]), ("http://127.0.0.1:9/api", [])])
def test_the_registry_is_opened_once_the_tables_of_a_temporary_server_are_imported(monkeypatch, address, imported):
    steps = []
    monkeypatch.setattr(pipeline, "import_server", lambda: steps.append("import"))
    monkeypatch.setattr(pipeline.backend, "open_early", lambda: steps.append("open"))
    with temporary_settings({PREFECT_API_URL: address}):
        pipeline.open_registry_early()
    assert steps == [*imported, "open"]
