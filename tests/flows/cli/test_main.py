"""The command as people call it: words, exit codes, JSON.

`clone.retune` starts a process. `clone.call` asks in this process, which costs a tenth;
`test_a_process_ends_as_the_command_does` holds both together.
"""

import json
import os
import re
import time

import pytest

COMMANDS = ("ingest", "preflight", "plan", "run", "models", "predict", "ui", "doctor", "sources", "notify")


@pytest.fixture(scope="module")
def with_records(clone):
    """The clone with a few records, and no model yet."""
    rows = [f"{n},text number {n} of ours,{'ab'[n % 2]}" for n in range(20)]
    (clone.folder / "own.csv").write_text("\n".join(["number,words,kind", *rows]), "utf-8")
    done = clone.call("ingest", "own.csv", "--text", "words", "--label", "kind", "--id", "number", "--json")
    assert done.returncode == 0, done.stderr
    clone.ingested = json.loads(done.stdout)
    return clone


def wrong(done, code, message):
    """An answer in words: the exit code, one message on stderr, nothing on stdout, no traceback."""
    assert done.returncode == code, done.stdout + done.stderr
    assert re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.fixture
def call(clone):
    return clone.call


@pytest.mark.parametrize(
    "words",
    [["run", "-h"], ["fine-tune"], ["plan", "--quickly"], ["run", "-S", "train.epohs=3"], ["rollback"]],
    ids=str,
)
def test_a_process_ends_as_the_command_does(clone, call, words):
    done, in_process = clone.retune(*words), call(*words)
    assert in_process.returncode == done.returncode
    assert without_usage(in_process.stdout) == without_usage(done.stdout) and without_usage(
        in_process.stderr
    ) == without_usage(done.stderr)


def without_usage(text):
    """All but the lines in which click names the program, which is another here."""
    return [line for line in text.splitlines() if not line.startswith(("Usage: ", "Try "))]


def test_help_lists_every_command(clone):
    done = clone.retune("--help")
    assert done.returncode == 0
    assert [name for name in COMMANDS if not re.search(rf"^  {name} ", done.stdout, re.MULTILINE)] == []


def test_help_does_not_wait_for_heavy_imports(clone):
    clone.retune("--help")  # compile first
    before = os.times()
    clone.retune("--help")
    after = os.times()  # of processors, which other work does not change as it does the clock
    busy = after.children_user + after.children_system - before.children_user - before.children_system
    assert busy < 2  # 0.7 s on the clock is the promise; bench/ measures it on a quiet machine
    loaded = clone.python("-c", "import sys, flows.cli.main; print(*sys.modules)").stdout.split()
    assert "flows.cli" in loaded
    assert {"torch", "mlflow", "prefect", "pandas", "dvc"} & set(loaded) == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(call, name):
    done = call(name, "-h")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: ")


@pytest.mark.parametrize("name", ["ingest", "preflight", "plan", "run", "models", "predict", "doctor"])
def test_every_command_that_prints_a_table_takes_json(call, name):
    assert "--json" in call(name, "-h").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fine-tune"], "No such command 'fine-tune'"),
        (["plan", "--quickly"], "No such option.*--quickly"),
        (["ingest"], "Missing argument 'SOURCE'"),
        (["ingest", "--merge", "more.csv"], "--merge takes no SOURCE"),
        (["ingest", "--merge"], "data/raw.dvc is in no merge conflict"),
        (["predict", "classifier@champion"], "Missing argument"),
        (["ui", "--port", "many"], "'many' is not a valid integer"),
        (["run", "-S", "train.epohs=3"], "did you mean train.epochs"),
        (["run", "-S", "train.epochs=three"], "train.epochs is 'three'"),
        (["run", "--name", "a/b"], "register.name is 'a/b'"),
        (["run", "--name", ""], "register.name is ''"),
        (["ingest", "nowhere.csv"], "nowhere.csv cannot be read"),
        (["ingest", "params.yaml"], "not a readable format: '.yaml'"),
        (["predict", "classifier", "some text"], "write NAME@ALIAS or NAME/VERSION"),
        (["predict", "@champion", "some text"], "write NAME@ALIAS or NAME/VERSION"),
        (["predict", "classifier/", "some text"], "write NAME@ALIAS or NAME/VERSION"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_use_is_exit_2_and_one_message(clone, call, words, message):
    before = (clone.folder / "params.yaml").read_bytes()
    wrong(call(*words), 2, message)
    assert (clone.folder / "params.yaml").read_bytes() == before


@pytest.mark.parametrize(
    "words",
    [
        ["promote", "classifier/1", "--reason"],
        ["rollback", "--reason"],
        ["approve", "classifier/1", "--reason"],
        ["reject", "classifier/1", "--reason"],
        ["forget", "T-1", "--reason"],
        ["quarantine", "release", "a.parquet", "--reason"],
        ["retrain", "--reason"],
        ["schedule", "request", "--reason"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("nothing", ["", " \n "], ids=["empty", "blank"])
def test_a_reason_that_says_nothing_is_refused(call, words, nothing):
    wrong(call(*words, nothing), 2, f"{words[-1] if words[-1].startswith('--') else 'TEXT'} is empty: give a reason")


def test_outside_a_project_every_command_says_where_to_go(clone, tmp_path):
    wrong(clone.retune("plan", cwd=tmp_path), 2, "is not in a Retune project")
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_records_says_how_to_bring_them_in(own_clone):
    wrong(own_clone.retune("run"), 2, "retune ingest FILE")


def test_a_wrong_params_file_is_named_before_anything_starts(own_clone):
    path = own_clone.folder / "params.yaml"
    path.write_text(path.read_text("utf-8").replace("  epochs:", "  epochen:"), "utf-8")
    wrong(
        own_clone.call("plan"),
        2,
        r"train\.epochen is not a parameter.*train\.epochs is missing|train\.epochs is missing.*train\.epochen",
    )
    wrong(own_clone.call("run"), 2, r"train\.epochen is not a parameter")


@pytest.mark.parametrize("words", [["plan"], ["run"], ["retrain", "--dry-run"]], ids=" ".join)
def test_a_multiple_choice_set_that_is_torn_is_named_before_anything_starts(clone_to_write_in, words):
    done = clone_to_write_in.retune(*words) if words == ["run"] else clone_to_write_in.call(*words)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "torn.jsonl, line 1: gold is 7. Write the number of the right choice" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (clone_to_write_in.folder / "data/curated/curated.parquet").exists()


@pytest.fixture(scope="module")
def clone_to_write_in(new_clone, prefect_url, tmp_path_factory):
    """A clone whose model is to write, with an `evaluate.retention` that holds no such choice."""
    fresh_clone = new_clone(tmp_path_factory.mktemp("writes"), PREFECT_API_URL=prefect_url)
    torn = fresh_clone.folder / "torn.jsonl"
    torn.write_text(json.dumps({"query": "Sky?", "choices": ["blue", "green"], "gold": 7}) + "\n", "utf-8")
    text = (fresh_clone.folder / "retune/config/defaults/instruct.yaml").read_text("utf-8")
    named = f"  retention: [{{name: sky, path: {torn}, by_length: false}}]"
    text = re.sub(r"(?<=\nevaluate:\n)(.*?)\n  retention: \[\][^\n]*", rf"\1\n{named}", text, count=1, flags=re.DOTALL)
    assert named in text
    (fresh_clone.folder / "params.yaml").write_text(text, "utf-8")
    rows = [{"prompt": f"What is {n}?", "completion": f"It is {n}."} for n in range(20)]
    (fresh_clone.folder / "own.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    done = fresh_clone.call("ingest", "own.jsonl")
    assert done.returncode == 0, done.stderr
    return fresh_clone


def test_a_wrong_column_is_named_and_nothing_is_written(clone):
    (clone.folder / "wrong.csv").write_text("words,kind\nhello there,a\n", "utf-8")
    before = sorted(path.name for path in (clone.folder / "data").iterdir())
    wrong(clone.call("ingest", "wrong.csv", "--text", "word", "--label", "kind"), 2, "did you mean 'words'")
    assert sorted(path.name for path in (clone.folder / "data").iterdir()) == before


@pytest.mark.parametrize("words", [["models"], ["models", "nobody"]])
def test_no_model_yet_is_exit_1(clone, words):
    done = clone.call(*words)
    wrong(done, 1, "no model .*is registered")


def test_no_model_yet_is_an_empty_list_in_json(clone):
    done = clone.call("models", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout) == []
    assert "no model" in done.stderr


@pytest.mark.parametrize("reference", ["nobody@champion", "classifier/7"])
def test_an_unknown_model_is_exit_1(clone, reference):
    wrong(clone.retune("predict", reference, "some text"), 1, "no model .* is registered in .*`retune run` makes one")


@pytest.mark.parametrize("texts", [[""], [" \n"], ["some text", ""]])
def test_a_text_that_says_nothing_gets_no_answer(call, texts):
    wrong(call("predict", "classifier@champion", *texts), 1, f"text {len(texts)} of {len(texts)} is empty")


def test_an_ingest_that_is_refused_is_exit_1(clone):
    (clone.folder / "torn.jsonl").write_text('{"text": "a", "label": "b"}\n{"text": "a", \n', "utf-8")
    wrong(clone.call("ingest", "torn.jsonl"), 1, "torn.jsonl, line 2")


@pytest.mark.parametrize("words", [["promote", "classifier/1"], ["rollback"], ["approve", "classifier/1"],
                                   ["reject", "classifier/1"], ["forget", "T-1"]], ids=" ".join)  # fmt: skip
def test_a_decision_that_no_person_answers_for_is_refused_before_anything_is_looked_up(clone, words):
    unsaid = dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"), "")
    unsaid |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    nobody = type(clone)(clone.folder, {**unsaid, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})
    done = nobody.python("-m", "flows.cli", *words, "--reason", "why")
    wrong(done, 2, "git config user.name.*git config user.email.*GIT_AUTHOR_NAME and GIT_AUTHOR_EMAIL")
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def clone_without_registry(clone):
    """The clone with a registry at which nobody is."""
    return type(clone)(clone.folder, {"MLFLOW_TRACKING_URI": "http://desk:s3cret@127.0.0.1:9"})


ASK_THE_REGISTRY = [
    ["predict", "classifier@champion", "some text"],
    ["promote", "classifier/1", "--reason", "why"],
    ["approve", "classifier/1", "--reason", "why"],
    ["reject", "classifier/1", "--reason", "why"],
    ["lineage", "model", "classifier@champion"],
    ["verify", "classifier@champion"],
    ["history", "--verify"],
    ["reproduce", "classifier/1"],
    ["retrain"],
]


@pytest.mark.parametrize(
    "words", [["models"], *(pytest.param(each, marks=pytest.mark.slow) for each in ASK_THE_REGISTRY)], ids=" ".join
)
def test_a_registry_that_is_away_is_exit_3_in_one_line_at_once(clone_without_registry, words):
    began = time.monotonic()
    done = clone_without_registry.retune(*words)
    wrong(done, 3, r"registry at http://127.0.0.1:9 is away \(.*Connection refused\): start that server")
    assert "retune doctor" in done.stderr and len(done.stderr.splitlines()) == 1 and "s3cret" not in done.stderr
    assert time.monotonic() - began < 30  # 8 s, most of it MLflow's import, where nobody else is at work


@pytest.mark.slow
def test_who_says_how_patient_mlflow_is_has_it(clone):
    words = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    done = type(clone)(clone.folder, words).retune("models")
    wrong(done, 3, "127.0.0.1")
    assert "retune doctor" in done.stderr and "is away" not in done.stderr


@pytest.mark.slow
def test_a_server_that_is_away_is_exit_3_in_one_line(with_records):
    away = type(with_records)(with_records.folder, {"PREFECT_API_URL": "http://127.0.0.1:9/api"})
    done = away.retune("run")
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert "retune doctor" in done.stderr


def test_an_ingest_of_conversations_says_how_it_was_read(own_clone):
    assert own_clone.call("task", "instruct").returncode == 0
    (own_clone.folder / "said.jsonl").write_text('{"prompt": "Where?", "completion": "Here.", "x": 1}')
    done = own_clone.call("ingest", "said.jsonl")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == ["read as: prompt and completion", "columns not used: x"]
    wrong(own_clone.call("preflight"), 2, "the base folder:/write/here")
    planned = own_clone.call("plan", "--json")
    assert len(json.loads(planned.stdout)["stages"]) == 5
    assert "licence: not known: the base folder:/write/here" in planned.stderr


def test_ingest_tells_what_became_of_the_rows(with_records):
    assert with_records.ingested["received"] == with_records.ingested["added"] == 20
    again = with_records.call("ingest", "own.csv", "--text", "words", "--label", "kind", "--id", "number")
    assert again.returncode == 0
    assert "received 20 rows: 0 added, 0 corrected, 20 there already. data/raw holds 20 rows." in again.stdout
    assert (with_records.folder / "data/raw.dvc").exists()


def test_a_path_is_meant_from_where_the_user_stands(with_records, tmp_path):
    deep = with_records.folder / "docs/deep"
    deep.mkdir(parents=True, exist_ok=True)
    (deep / "here.csv").write_text("number,words,kind\n1,text number 1 of ours,b\n", "utf-8")
    done = with_records.call("ingest", "here.csv", "--text", "words", "--label", "kind", "--id", "number", cwd=deep)
    assert done.returncode == 0, done.stderr
    assert "1 there already" in done.stdout


def test_a_plan_is_json_for_other_programs(with_records):
    plan = json.loads(with_records.call("plan", "--json").stdout)
    assert [stage["name"] for stage in plan["stages"]] == ["curate", "validate", "split", "train", "evaluate"]
    assert all(set(stage) == {"name", "run", "why"} for stage in plan["stages"])
    assert all(stage["run"] is True and stage["why"] for stage in plan["stages"])


def test_a_plan_is_a_table_for_people(with_records):
    lines = with_records.call("plan").stdout.splitlines()
    assert lines[0].split() == ["run", "curate", "it", "has", "not", "run", "yet"]
    assert not (with_records.folder / "dvc.lock").exists()
