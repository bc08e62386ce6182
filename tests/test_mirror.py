"""Each module has a test module of its name in the mirrored place, or stands here beside the tests that cover it.

`retune/data/messages.py` is tested by `tests/retune/data/test_messages.py`, a `__main__.py` by `test_main.py`. A test
module may add a subject to the name: `test_history_integrity.py`.
"""

from pathlib import Path

from tests.support.environment import ROOT

MODULES = sorted(
    path.relative_to(ROOT)
    for top in ("retune", "tasks", "flows")
    for path in (ROOT / top).rglob("*.py")
    if path.name != "__init__.py"
)
TESTS = sorted(
    path.relative_to(ROOT / "tests")
    for top in ("retune", "tasks", "flows")
    for path in (ROOT / "tests" / top).rglob("test_*.py")
)
COVERED_BY = {  # module without a test module of its own -> the one, below tests/, that covers it
    "flows/cli/__main__.py": "flows/cli/test_main.py",
    "flows/cli/explain.py": "flows/cli/test_models.py",
    "flows/cli/history.py": "pipeline/lineage/test_lineage.py",
    "flows/cli/review.py": "pipeline/test_review.py",
    "flows/cli/rollout.py": "flows/test_rollout.py",
    "flows/execution/run_context.py": "flows/test_pipeline.py",
    "flows/project/golden_file.py": "flows/cli/test_golden.py",
    "flows/scheduling/run_entrypoint.py": "flows/scheduling/test_deployments.py",
    "flows/scheduling/run_hygiene.py": "flows/scheduling/test_crash_alerts.py",
    "flows/services/credentials.py": "flows/services/test_up_down.py",
    "flows/services/definitions.py": "flows/services/test_up_down.py",
    "flows/services/state.py": "flows/services/test_up_down.py",
    "flows/services/supervisor.py": "flows/services/test_up_down.py",
    "flows/watch.py": "flows/scheduling/test_deployments.py",
    "retune/config/classification.py": "retune/config/test_params.py",
    "retune/config/common.py": "retune/config/test_params.py",
    "retune/config/evaluation.py": "retune/config/test_params.py",
    "retune/config/generation.py": "retune/config/test_params.py",
    "retune/config/golden.py": "retune/config/test_params.py",
    "retune/config/personal_data.py": "retune/config/test_params.py",
    "retune/config/poison.py": "retune/config/test_params.py",
    "retune/config/request_log.py": "retune/config/test_params.py",
    "retune/config/rollout.py": "retune/config/test_params.py",
    "retune/config/serving.py": "retune/config/test_params.py",
    "retune/config/sources.py": "retune/config/test_params.py",
    "retune/config/types.py": "retune/config/test_params.py",
    "retune/config/writing.py": "retune/config/test_params.py",
    "retune/data/finding.py": "tasks/validate/test_main.py",
    "retune/data/messages.py": "retune/data/test_chat_formats.py",
    "retune/data/pii/leaves.py": "retune/data/pii/test_redaction.py",
    "retune/data/pii/spans.py": "retune/data/pii/test_detection.py",
    "retune/data/readers/encoding.py": "retune/data/readers/test_delimited.py",
    "retune/data/readers/hub.py": "tasks/test_ingest_formats.py",
    "retune/data/readers/parquet.py": "tasks/test_ingest_formats.py",
    "retune/data/readers/records.py": "retune/data/readers/test_delimited.py",
    "retune/data/readers/table.py": "tasks/test_ingest_rejects.py",
    "retune/data/rejects.py": "tasks/test_ingest_rejects.py",
    "retune/data/row_mapping.py": "tasks/test_ingest.py",
    "retune/data/replay.py": "tasks/curate/test_main_general_examples.py",
    "retune/data/task_data.py": "test_tasks.py",
    "retune/data/unfinished_ingest.py": "flows/execution/test_raw_data.py",
    "retune/documents/check_marks.py": "retune/documents/test_lineage_page.py",
    "retune/documents/record_facts.py": "retune/documents/test_model_card.py",
    "retune/documents/rollout_page.py": "tasks/rollout/test_report.py",
    "retune/documents/task_texts.py": "test_tasks.py",
    "retune/evaluation/human_verdicts.py": "retune/evaluation/test_human_review.py",
    "retune/evaluation/judge_endpoint.py": "retune/evaluation/test_llm_judge.py",
    "retune/evaluation/review_files.py": "retune/evaluation/test_human_review.py",
    "retune/lineage/check.py": "retune/lineage/test_signing.py",
    "retune/models/decoder.py": "retune/models/test_causal_lm.py",
    "retune/models/generation.py": "retune/models/test_causal_lm.py",
    "retune/models/loading.py": "flows/cli/test_models.py",
    "retune/models/manifest.py": "retune/models/test_causal_lm.py",
    "retune/promotion/latency.py": "tasks/test_latency.py",
    "retune/registry/pyfunc.py": "retune/registry/test_clean_process.py",
    "retune/registry/sqlite_to_postgres.py": "flows/services/test_up_down.py",
    "retune/registry/version.py": "retune/registry/test_versions.py",
    "retune/serving/attempts.py": "retune/serving/test_router.py",
    "retune/serving/upstream_client.py": "retune/serving/test_upstream.py",
    "retune/system/dvc_store.py": "flows/execution/test_reproduce.py",
    "retune/system/failpoints.py": "faults/test_kills.py",
    "retune/system/named_file.py": "retune/evaluation/test_golden_cases.py",
    "tasks/evaluate/__main__.py": "tasks/evaluate/test_generation.py",
    "tasks/evaluate/answer_automation.py": "tasks/evaluate/test_generation.py",
    "tasks/evaluate/automation.py": "tasks/evaluate/test_classification.py",
    "tasks/evaluate/model_answers.py": "tasks/evaluate/test_generation.py",
    "tasks/fetch/connector.py": "tasks/fetch/test_sql.py",
    "tasks/fetch/watermark.py": "tasks/fetch/test_sql.py",
    "tasks/monitor/verdict_file.py": "tasks/monitor/test_report.py",
    "tasks/monitor/windows.py": "tasks/monitor/test_report.py",
    "tasks/register/record_builder.py": "tasks/register/test_register.py",
    "tasks/serve/answer_log.py": "tasks/serve/test_app.py",
    "tasks/serve/edge.py": "tasks/serve/test_app.py",
    "tasks/serve/errors.py": "tasks/serve/test_app.py",
    "tasks/serve/invocation_routes.py": "tasks/serve/test_app.py",
    "tasks/serve/metrics.py": "tasks/serve/test_app.py",
    "tasks/serve/openai_schema.py": "tasks/serve/test_openai_routes.py",
    "tasks/serve/operation_routes.py": "tasks/serve/test_app.py",
    "tasks/serve/predict_routes.py": "tasks/serve/test_app.py",
    "tasks/serve/service.py": "tasks/serve/test_app.py",
    "tasks/trace/checks.py": "tasks/trace/test_verify.py",
    "tasks/trace/diff.py": "pipeline/lineage/test_lineage.py",
    "tasks/trace/parent_checks.py": "pipeline/test_incremental.py",
    "tasks/trace/recomputed.py": "tasks/trace/test_verify.py",
    "tasks/train/__main__.py": "tasks/train/test_parent.py",
    "tasks/train/context.py": "tasks/train/test_loop.py",
    "tasks/train/decoder/batch_plan.py": "tasks/train/decoder/test_sft.py",
    "tasks/train/decoder/lora_kernel.py": "tasks/train/decoder/test_lora_fusion.py",
    "tasks/train/decoder/network.py": "tasks/train/decoder/test_sft.py",
    "tasks/train/decoder/pairs.py": "tasks/train/decoder/test_preference.py",
    "tasks/train/decoder/rounds.py": "tasks/train/decoder/test_sft.py",
    "tasks/train/distributed/launcher.py": "tasks/train/distributed/test_collectives.py",
    "tasks/train/encoder/objective.py": "tasks/train/test_loop.py",
    "tasks/validate/data_docs.py": "tasks/validate/test_main.py",
    "tasks/validate/expectations.py": "tasks/validate/test_main.py",
}
OF_NO_MODULE = {  # test module -> what it tests
    "flows/services/test_backup.py": "infra/backup.sh and infra/restore.sh",
    "flows/services/test_outage.py": "all services of a team, of which one is away",
    "flows/test_read_only.py": "all commands, in a clone that cannot be written",
    "retune/test_public.py": "retune/__init__.py",
}


def mirrored(test: Path) -> Path | None:
    """The module that a test module mirrors: of several, the one with the longest name."""
    name = test.stem.removeprefix("test_")
    modules = {module.stem.strip("_"): module for module in MODULES if module.parent == test.parent}
    names = [each for each in modules if f"{name}_".startswith(f"{each}_")]
    return modules[max(names, key=len)] if names else None


def test_each_module_has_a_test_of_its_name_or_stands_beside_the_tests_that_cover_it():
    with_own_test = {mirrored(test) for test in TESTS}
    assert sorted(COVERED_BY) == sorted(str(module) for module in MODULES if module not in with_own_test)


def test_each_test_module_mirrors_a_module():
    assert sorted(str(test) for test in TESTS if mirrored(test) is None) == sorted(OF_NO_MODULE)


def test_the_tests_that_cover_other_modules_exist():
    assert [test for test in COVERED_BY.values() if not (ROOT / "tests" / test).is_file()] == []
