"""A model that writes, end to end: the real command, a real decoder of two layers, the sample of replies.

The tests share one clone and stand in the order of its story.
"""

import hashlib
import json

import pandas as pd
import pytest
import yaml

pytestmark = pytest.mark.slow

SMALL = {
    "train.template": "chatml",
    "train.max_tokens": 256,
    "train.batch_tokens": 512,
    "train.epochs": 2,
    "train.lora.learning_rate": 5.0e-3,
    "train.full.learning_rate": 5.0e-3,
    "evaluate.generate_rows": 4,
    "evaluate.bootstrap": 100,
    "promote.bootstrap": 200,
    "register.reload_rows": 4,
    "latency.texts": 2,
    "promote.latency_ratio": 100.0,
}


@pytest.fixture(scope="module")
def writer_clone(new_clone, prefect_url, make_causal_lm, tmp_path_factory):
    """A clone for the task, with a slice of the sample and one finished run."""
    base = tmp_path_factory.mktemp("base")
    writer_clone = new_clone(tmp_path_factory.mktemp("house"), PREFECT_API_URL=prefect_url)
    replies = pd.read_csv(writer_clone.folder / "tests/samples/replies.csv", dtype="str", keep_default_na=False).head(
        300
    )
    replies.to_csv(writer_clone.folder / "slice.csv", index=False)
    make_causal_lm(base, [*replies["prompt"], *replies["completion"], "system user assistant"])
    assert writer_clone.retune("task", "instruct").returncode == 0
    writer_clone.git("commit", "-qam", "Write answers")
    ingested = writer_clone.retune(
        "ingest", "slice.csv", "--text", "prompt", "--label", "completion", "--id", "request_id",
        "--group", "customer_id",
    )  # fmt: skip
    assert ingested.returncode == 0, ingested.stderr
    weights = hashlib.sha256((base / "model.safetensors").read_bytes()).hexdigest()
    settings = {**SMALL, "train.base.name": f"folder:{base}", "train.base.sha256": weights}
    writer_clone.ran = run(writer_clone, settings)
    return writer_clone


def run(clone, settings_chosen):
    settings = [word for key, value in settings_chosen.items() for word in ("-S", f"{key}={value}")]
    ran = clone.retune("run", "--json", *settings, timeout=400)
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    assert "; licence: not stated" in ran.stderr
    return json.loads(ran.stdout[ran.stdout.index("{\n") :])


def test_a_first_model_beats_its_base_and_becomes_champion(writer_clone):
    process = writer_clone.ran
    assert process["promoted"]
    assert process["version"]["metrics"]["perplexity"] < 0.9 * process["version"]["base_metrics"]["perplexity"]
    assert "perplexity beats the base" in process["reasons"][0]


def test_every_link_of_its_way_back_holds(writer_clone):
    checked = writer_clone.retune("verify", "writer@champion")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    record = json.loads(writer_clone.retune("lineage", "model", "writer@champion", "--json").stdout)["record"]
    assert record["training"]["method"] == "lora"
    assert record["params"]["train"]["template"] == "chatml"
    assert record["scores"]["probe"] is None
    assert record["data"]["sides"]["train"]["labels"] == {}


def test_it_answers_words_and_messages_alike(writer_clone):
    answer = writer_clone.retune("predict", "writer@champion", "Where is my parcel?", "--json")
    again = writer_clone.retune(
        "predict", "writer@champion", '[{"role":"user","content":"Where is my parcel?"}]', "--json"
    )
    assert answer.returncode == 0, answer.stderr
    one, other = json.loads(answer.stdout)[0], json.loads(again.stdout)[0]
    assert (one["label"], one["confidence"]) == (other["label"], other["confidence"])
    assert 0 < one["confidence"] < 1


def test_what_was_tried_next_is_compared_with_the_champion_on_the_same_rows(writer_clone):
    process = run(writer_clone, {"train.method": "full"})
    assert process["version"]["version"] == 2
    assert any("the champion" in reason for reason in process["reasons"])
    assert writer_clone.retune("verify", "writer/2").returncode == 0


def test_an_unchanged_retraining_has_nothing_to_do(writer_clone):
    process = writer_clone.retune("retrain", "--dry-run", "--json")
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["outcome"] == "nothing to do"


def commit(clone, title):
    clone.git("commit", "-qam", title)


def record_of(clone, name):
    process = clone.retune("lineage", "model", name, "--json")
    return json.loads(process.stdout)["record"]


def test_it_goes_on_from_a_version_with_general_examples_beside_its_rows(writer_clone, tmp_path_factory):
    writer_clone.git("add", "data/raw.dvc")
    commit(writer_clone, "Learned to write")
    before = (writer_clone.folder / "params.yaml").read_text("utf-8")
    turned = writer_clone.retune("task", "instruct", "--from", "writer/1")
    assert turned.returncode == 0, turned.stderr
    assert "for instruct now, from writer/1" in turned.stdout
    values = yaml.safe_load((writer_clone.folder / "params.yaml").read_text("utf-8"))
    assert values["train"]["method"] == "lora", "as writer/1, not as writer/2"
    expected = yaml.safe_load(before)
    expected["train"]["method"] = "lora"
    assert values == expected, "what the version says nothing of stays"

    writer_clone.file = tmp_path_factory.mktemp("general") / "sums.jsonl"
    first = pd.read_csv(writer_clone.folder / "slice.csv", dtype="str")["prompt"][0]
    general_rows = [{"instruction": f"What is {n} and {n}?", "output": f"It is {2 * n}."} for n in range(60)]
    general_rows += [{"instruction": first.upper(), "output": "No."}]
    writer_clone.file.write_text("".join(f"{json.dumps(each)}\n" for each in general_rows), "utf-8")
    digest = hashlib.sha256(writer_clone.file.read_bytes()).hexdigest()
    named = f"[{{path: {writer_clone.file}, sha256: {digest}}}]"
    ran = run(writer_clone, {"curate.replay": named, "train.replay_share": 0.1, "train.epochs": 1})
    assert ran["version"]["version"] == 3
    record = record_of(writer_clone, "writer/3")
    train = len(pd.read_parquet(writer_clone.folder / "data/splits/train.parquet"))
    begins, general = record["training"]["start"], record["data"]["general"]
    assert (begins["from"], begins["old_rows"], begins["new_rows"]) == ("writer/1", train, 0)
    assert record["training"]["rows"] == train and record["data"]["raw"]["rows"] == 300
    assert record["data"]["sides"] == record_of(writer_clone, "writer/1")["data"]["sides"]
    learned = round(train / 9)
    assert (general["rows"], general["learned"]) == (60, learned), "one asks what a record asks"
    general_rows = {"path": str(writer_clone.file), "sha256": digest, "received": 61, "kept": 60, "learned": learned}
    assert general["files"] == {"sums.jsonl": general_rows}
    assert any("the base" in reason for reason in ran["reasons"])


def test_every_link_leads_back_to_where_it_started_and_to_the_examples(writer_clone):
    checked = writer_clone.retune("verify", "writer/3")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    links = {
        each["name"]: each
        for each in json.loads(writer_clone.retune("lineage", "model", "writer/3", "--json").stdout)["links"]
    }
    for name in ("start from writer/1", "general/sums.jsonl", "general examples", "history general"):
        assert links[name]["ok"], name
    assert links["test rows among the general examples"]["found"] == "0"
    traced = json.loads(writer_clone.retune("lineage", "data", "data/curated/general.parquet", "--json").stdout)
    assert [(each["version"], each["side"]) for each in traced["versions"]] == [(3, "general")]
    assert writer_clone.retune("lineage", "row", "sums.jsonl:1").returncode == 1, "an example is no row"


def test_it_is_rebuilt_to_the_bit_and_a_retraining_finds_nothing_to_do(writer_clone, tmp_path):
    done = writer_clone.retune("reproduce", "writer/3", "--into", str(tmp_path / "again"), timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bit-identical" in done.stdout and "writer/1, from which it continued" in done.stdout
    process = writer_clone.retune("retrain", "--dry-run", "--json")
    assert json.loads(process.stdout)["outcome"] == "nothing to do", process.stderr


def test_other_examples_than_were_meant_are_refused_until_their_hash_is_written(writer_clone):
    text = writer_clone.file.read_text("utf-8")
    writer_clone.file.write_text(text + json.dumps({"instruction": "More?", "output": "More."}) + "\n", "utf-8")
    for command in (("plan",), ("run",), ("retrain", "--dry-run")):
        done = writer_clone.retune(*command, timeout=400)
        assert done.returncode == 1 and "have sha256" in done.stderr, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
    digest = hashlib.sha256(writer_clone.file.read_bytes()).hexdigest()
    values = (writer_clone.folder / "params.yaml").read_text("utf-8")
    old = hashlib.sha256(text.encode()).hexdigest()
    assert values.count(old) == 1
    (writer_clone.folder / "params.yaml").write_text(values.replace(old, digest), "utf-8")
    planned = {each["name"]: each for each in json.loads(writer_clone.retune("plan", "--json").stdout)["stages"]}
    assert planned["curate"]["run"] and planned["train"]["run"]
    assert "curate.replay" in planned["curate"]["why"][0]
    (writer_clone.folder / "params.yaml").write_text(values, "utf-8")
    writer_clone.file.write_text(text, "utf-8")


def test_a_row_that_was_learned_from_is_found_and_forgotten(writer_clone):
    learned = pd.read_parquet(writer_clone.folder / "data/splits/train.parquet")["id"].iloc[0]
    traced = writer_clone.retune("lineage", "row", learned)
    assert "writer/1" in traced.stdout
    forgot = writer_clone.retune("forget", learned, "--reason", "asked to")
    assert "writer/1" in forgot.stdout
    assert "data/suppressed.json" in writer_clone.retune("plan").stdout


def test_the_rows_that_a_version_carries_hold_no_text(writer_clone):
    tables = list((writer_clone.folder / ".retune").rglob("champion_predictions.parquet"))
    for file in tables:
        assert not {"label", "predicted", "base_predicted"} & set(pd.read_parquet(file))


def test_the_task_cannot_change_over_its_records(writer_clone):
    text = (writer_clone.folder / "params.yaml").read_text("utf-8")
    assert writer_clone.retune("task", "instruct").returncode == 2
    assert (writer_clone.folder / "params.yaml").read_text("utf-8") == text
    assert yaml.safe_load(text)["task"] == "instruct"
