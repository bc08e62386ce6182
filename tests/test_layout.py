"""The laws of the house, kept by reading the code: nothing heavy is imported here."""

import ast
import csv
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.support.environment import ROOT

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))["stages"]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
CODE = sorted(file for top in ("retune", "tasks", "flows") for file in (ROOT / top).rglob("*.py"))
WITHOUT_SECTION = {
    "data_quality",  # looks at the curated rows and changes nothing
    "forget",  # so do its: which rows, and why
    "preflight",  # its limits stand in validate.preflight: there its findings decide
    "trace",  # and its: which version or row; it changes nothing
}

CONFIG = sorted((ROOT / "retune/config").glob("*.py"))  # hold no value, so no stage depends on them: types.py
NO_RESULT = {
    *(str(file.relative_to(ROOT)) for file in CONFIG),
    "retune/system/failpoints.py",  # so does this one's: it ends the process or does nothing
    "retune/preflight/compute_estimate.py",  # an estimate, after which training starts or not
    "retune/preflight/memory_check.py",  # the same
    "retune/system/free_memory.py",  # the same
}

PATHS = [str(file.relative_to(ROOT)) for file in CODE]
OF_FLOWS = {path for path in PATHS if path.startswith("flows/")}
OF_REGISTRY = {path for path in PATHS if path.startswith("retune/registry/")}
DOORS = {
    "prefect": OF_FLOWS,
    "mlflow": OF_REGISTRY,  # the folder is the door
    "transformers": {
        "retune/models/classifier.py",
        "retune/models/chat_template.py",
        "retune/models/decoder.py",
        "retune/models/generation.py",
        "retune/models/name_model.py",
    },
    "tokenizers": {"retune/preflight/text_audit.py"},
    "peft": {
        "retune/models/classifier.py",
        "retune/models/decoder.py",
        "tasks/train/decoder/lora_fusion.py",
    },  # lora: its layers, made quick
    "huggingface_hub": {"retune/models/base_model.py"},
    "evaluate": {"retune/evaluation/label_metrics.py"},
    "datasets": {"retune/evaluation/label_metrics.py", "retune/data/readers/hub.py"},  # ingest: `hf:` sources
    "sklearn": {"retune/evaluation/label_metrics.py", "retune/models/naive_bayes.py", "retune/models/probe.py"},
    "sklearn.metrics": {"retune/evaluation/label_metrics.py"},
    "sklearn.linear_model": {"retune/models/probe.py"},
    "sklearn.naive_bayes": {"retune/models/naive_bayes.py"},
    "great_expectations": {"tasks/validate/expectations.py", "tasks/validate/data_docs.py"},
    "matplotlib": {"retune/evaluation/plots.py"},
    "model_signing": {"retune/lineage/signing.py"},
    "cryptography": {"retune/lineage/signing.py"},
    "cyclonedx": {"retune/documents/bom.py"},
    "dvc": {"retune/system/dvc_store.py"},  # to read; what writes is a command line that flows/execution/dvc.py runs
    "jsonschema": {
        "retune/lineage/record.py",  # our own schema
        "retune/evaluation/json_validity.py",  # the user's, of what a model writes
    },
    "regex": {"retune/evaluation/golden_cases.py"},
    "phonenumbers": {"retune/data/pii/contacts.py", "retune/config/personal_data.py"},  # which countries there are
    "stdnum": {"retune/data/pii/numbers.py"},
    "rensa": {"tasks/curate/shingles.py"},
    "ray": {"tasks/curate/ray_cluster.py", "tasks/serve/ray_deployment.py"},
    "scipy": {
        "tasks/curate/near_copies.py",
        "retune/evaluation/automation.py",
        "retune/evaluation/out_of_scope.py",
        "retune/evaluation/review_sample.py",
        "retune/evaluation/temperature.py",
        "retune/monitoring/shift_tests.py",
        "retune/promotion/anytime.py",
        "retune/promotion/anytime_means.py",
    },
    "rouge_score": {"retune/evaluation/text_metrics.py"},
    "sacrebleu": {"retune/evaluation/text_metrics.py"},
    "httpx": {
        "tasks/fetch/http.py",
        "retune/evaluation/judge_endpoint.py",
        "retune/serving/upstream_client.py",
        "flows/execution/prefect_api.py",
        "flows/services/definitions.py",  # whether MLflow answers
        "flows/services/up_down.py",  # MLflow's passwords
    },
    "sqlalchemy": {
        "tasks/fetch/sql.py",
        "retune/registry/backend.py",
        "retune/registry/sqlite_to_postgres.py",  # MLflow's tables
        "retune/serving/database.py",
        "retune/serving/feedback.py",
        "retune/serving/outcomes.py",
        "retune/serving/rollouts.py",
        "retune/serving/request_log.py",
        "retune/serving/served_rows.py",
        "tasks/rollout/evidence.py",
        "tasks/rollout/labels.py",
        "tasks/rollout/report.py",
        "tasks/rollout/requests.py",
    },
    "fastapi": {path for path in PATHS if path.startswith("tasks/serve/")},
    "uvicorn": {"tasks/serve/server.py"},
    "prometheus_client": {"tasks/serve/metrics.py"},
    "apprise": {"tasks/notify.py"},
}


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"))


@cache
def imported(file: Path) -> frozenset[str]:
    """Every dotted name that a file imports anywhere in it; `from a import b` counts as a and a.b."""
    names = set()
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(file)}:{node.lineno} imports by a relative name"
            assert node.module
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def own_modules(file: Path) -> set[Path]:
    """The modules of this repository that a file imports, leaving out `__init__.py`, which hold no code."""
    files = {ROOT / f"{name.replace('.', '/')}.py" for name in imported(file)}
    return {file for file in files if file.is_file()}


def reached(file: Path) -> set[Path]:
    """A module, and all that it imports, transitively."""
    files: set[Path] = set()
    frontier = {file}
    while frontier:
        files |= frontier
        frontier = {other for file in frontier for other in own_modules(file)} - files
    return files


def entry(stage: str) -> Path:
    module = re.search(r"python -m ([\w.]+)", STAGES[stage]["cmd"])
    assert module, f"{stage} is not run as `python -m tasks.{stage}`"
    assert module[1] == f"tasks.{stage}"
    path = ROOT / module[1].replace(".", "/")
    return path / "__main__.py" if path.is_dir() else path.with_suffix(".py")


def verb_of(file: Path) -> str:
    """tasks/train/encoder/loop.py and tasks/split.py belong to the verbs train and split."""
    return file.relative_to(ROOT / "tasks").with_suffix("").parts[0]


def verb_files() -> list[Path]:
    return [file for file in CODE if name_of(file).startswith("tasks/") and verb_of(file) != "__init__"]


def is_or_below(name: str, tool: str) -> bool:
    return name == tool or name.startswith(f"{tool}.")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_exactly_the_modules_that_it_imports(stage):
    used = {name_of(file) for file in reached(entry(stage))} - NO_RESULT
    declared = {dep for dep in STAGES[stage]["deps"] if dep.endswith(".py")}
    assert declared == used


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_writes_a_page_depends_on_its_templates(stage):
    deps = set(STAGES[stage]["deps"])
    writes_pages = "retune/pages/page.py" in deps
    templates = [
        path for path in (*ROOT.glob("retune/*/*"), *ROOT.glob("tasks/*/*")) if path.suffix in (".html", ".css")
    ]
    needed = {name_of(path) for path in templates for dep in deps if writes_pages and is_template_of(path, ROOT / dep)}
    assert {dep for dep in deps if dep.endswith((".html", ".css"))} == needed


def is_template_of(template: Path, module: Path) -> bool:
    """report_labels.html is of report.py; whatever is in retune/pages is of page.py."""
    return template.parent == module.parent and (template.stem.startswith(module.stem) or module.name == "page.py")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_its_own_section_of_the_params(stage):
    further = {"validate": ["train.base", "train.max_tokens"]}  # what its audit of the tokens asks for
    assert [name for name in STAGES[stage]["params"] if name != "task"] == [stage, *further.get(stage, [])]


def test_no_init_file_holds_code_so_none_needs_declaring():
    public = {"retune/__init__.py", "retune/lineage/__init__.py"}  # the door for data scientists: no stage calls it
    for file in CODE:
        if file.name == "__init__.py" and name_of(file) not in public:
            assert all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in tree(file).body)


def test_the_order_of_the_flow_is_an_order_of_the_graph():
    order = constant(ROOT / "flows/pipeline.py", "STAGES")
    assert sorted(order) == sorted(STAGES)
    made_by = {path: name for name, stage in STAGES.items() for path in outputs_of(stage)}
    for name in order:
        needed = {made_by[dep] for dep in STAGES[name]["deps"] if dep in made_by}
        assert needed <= set(order[: order.index(name)]), f"{name} comes before what it needs"


def test_every_file_that_a_stage_reads_is_raw_code_or_made_by_another_stage():
    paths = {path for stage in STAGES.values() for path in outputs_of(stage)} | {"data/raw"}
    for name, stage in STAGES.items():
        for dep in stage["deps"]:
            assert dep in paths or (ROOT / dep).is_file(), f"{name} depends on {dep}, which nothing makes"


def outputs_of(stage: dict) -> list[str]:
    entries = [*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])]
    return [next(iter(out)) if isinstance(out, dict) else out for out in entries]


def constant(file: Path, name: str) -> list[str]:
    """The value of a module's constant, read without importing the module."""
    for node in tree(file).body:
        if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == name for to in node.targets):
            return list(ast.literal_eval(node.value))
    raise AssertionError(f"{name_of(file)} has no constant {name}")


def test_a_task_imports_the_library_and_no_other_task():
    for file in verb_files():
        for other in own_modules(file):
            inside = name_of(other).startswith("retune/") or verb_of(other) == verb_of(file)
            assert inside, f"{name_of(file)} imports {name_of(other)}"


@pytest.mark.parametrize("tool", DOORS)
def test_a_tool_is_imported_only_behind_its_door(tool):
    users = {name_of(file) for file in CODE if any(is_or_below(name, tool) for name in imported(file))}
    assert users <= DOORS[tool]


def test_git_is_run_only_by_its_module():
    for file in set(CODE) - {ROOT / "retune/system/git.py"}:
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.List) and node.elts:
                first = node.elts[0]
                words = first.value if isinstance(first, ast.Constant) else None
                assert words != "git", f"{name_of(file)}:{node.lineno} runs git: retune/system/git.py does that"
        for call in calls(file):
            if ast.unparse(call.func).startswith(("subprocess.", "os.system", "os.popen")) and call.args:
                assert not ast.unparse(call.args[0]).startswith(("'git ", "f'git ")), f"{name_of(file)}:{call.lineno}"


def test_nothing_is_imported_by_a_computed_name():
    for file in CODE:
        for call in calls(file):
            assert ast.unparse(call.func) not in ("__import__", "importlib.import_module"), name_of(file)


def test_the_code_that_a_version_carries_is_all_that_serving_imports():
    carried = {f"retune/{name}" for name in constant(ROOT / "retune/registry/versions.py", "CARRIED")}
    serving = ROOT / "retune/registry/pyfunc.py"
    used = {name_of(file) for file in reached(serving) - {serving}}
    packages = {str(Path(name).parent / "__init__.py") for name in used}
    assert carried == used | packages


def test_every_verb_has_a_section_of_its_name_and_every_section_a_verb():
    verbs = {verb_of(file) for file in verb_files()}
    sections = verbs - WITHOUT_SECTION
    assert set(PARAMS) - {"task"} == sections
    assert set(STAGES) <= set(PARAMS)


def test_every_section_has_a_type_and_no_field_a_default():
    files = [file for file in CONFIG if file.name != "reference.py"]  # which reads the types
    classes = [node for file in files for node in tree(file).body if isinstance(node, ast.ClassDef)]
    lines = {each.name: [line for line in each.body if not is_docstring(line)] for each in classes}
    names = {
        name: {ast.unparse(line.target) for line in body if isinstance(line, ast.AnnAssign)}
        for name, body in lines.items()
    }
    bases = {each.name: [ast.unparse(base) for base in each.bases] for each in classes}
    for task in ("Classify", "Instruct", "Prefer"):
        assert set().union(*(names[each] for each in (task, *bases[task], "Shared"))) == set(PARAMS), task
    for each in classes:
        assert [ast.unparse(mark) for mark in each.decorator_list] == ["section"], f"{each.name} is not strict"
        for line in lines[each.name]:
            assert isinstance(line, ast.AnnAssign), f"{each.name} holds more than annotated fields"
            assert line.value is None, f"{each.name}.{ast.unparse(line.target)} has a default"


def is_docstring(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)


def test_no_type_of_a_parameter_carries_a_default():
    limits = {"ge", "gt", "le", "lt", "pattern", "max_length", "allow_inf_nan"}
    for call in (call for file in CONFIG for call in calls(file)):
        if ast.unparse(call.func) == "Field":
            assert not call.args
            assert {word.arg for word in call.keywords} <= limits | {"description", "json_schema_extra"}


def test_params_know_nothing_of_the_sample():
    with (ROOT / "tests/samples/tickets.csv").open(encoding="utf-8", newline="") as file:
        count = Counter(row["queue"] for row in csv.DictReader(file))
    queues = [queue for queue, rows in count.items() if rows >= 10]
    assert len(queues) == 12
    text = (ROOT / "params.yaml").read_text("utf-8")
    assert not [queue for queue in queues if re.search(rf"\b{re.escape(queue)}\b", text, re.IGNORECASE)]


def calls(file: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree(file)) if isinstance(node, ast.Call))


def test_nothing_is_pickled_and_no_code_of_strangers_is_run():
    unsafe = ("pickle", "cloudpickle", "joblib", "dill", "shelve", "marshal")
    words = {("trust_remote_code", True), ("weights_only", False), ("allow_pickle", True)}
    for file in CODE:
        assert not [name for name in imported(file) for tool in unsafe if is_or_below(name, tool)], name_of(file)
        for call in calls(file):
            where = f"{name_of(file)}:{call.lineno}"
            assert ast.unparse(call.func) not in ("torch.load", "torch.save", "pd.read_pickle", "eval", "exec"), where
            arguments = {(word.arg, word.value.value) for word in call.keywords if isinstance(word.value, ast.Constant)}
            assert not arguments & words, where


def test_importing_a_module_does_nothing():
    allowed = {
        "retune/evaluation/label_metrics.py": {"os.environ.setdefault"},  # huggingface_hub reads it when imported
        "retune/registry/pyfunc.py": {"set_model"},  # what MLflow asks of a model from code
        "tasks/train/decoder/lora_kernel.py": {
            "lora_linear.register_autograd"
        },  # the second half of what a decorator began
    }
    for file in CODE:
        for node in tree(file).body:
            where = f"{name_of(file)}:{node.lineno}"
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                assert ast.unparse(node.value.func) in allowed.get(name_of(file), set()), where
            elif isinstance(node, ast.If):
                assert ast.unparse(node.test) in ("__name__ == '__main__'", "TYPE_CHECKING"), where
            else:
                assert not isinstance(node, ast.For | ast.While | ast.With), where


def passed(file: Path) -> Iterator[str]:
    """The names of the fail points that a file passes; `before:{name}` stands for one of each stage."""
    for call in calls(file):
        if ast.unparse(call.func) == "failpoints.point":
            name = ast.literal_eval(ast.unparse(call.args[0]).removeprefix("f"))
            yield from [name.format(name=stage) for stage in STAGES] if "{name}" in name else [name]


def test_every_fail_point_has_a_name_of_its_own_and_is_passed_at_one_place():
    names = [name for file in CODE for name in passed(file)]
    assert sorted(names) == sorted(constant(ROOT / "retune/system/failpoints.py", "POINTS"))
    assert len(set(names)) == len(names)
