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
    "register.probe_rows": 4,
    "measure.texts": 2,
    "promote.latency_ratio": 100.0,
}


@pytest.fixture(scope="module")
def house(new_clone, prefect_url, make_writer, tmp_path_factory):
    """A clone for the task, with a slice of the sample and one finished run."""
    base = tmp_path_factory.mktemp("base")
    made = new_clone(tmp_path_factory.mktemp("house"), PREFECT_API_URL=prefect_url)
    replies = pd.read_csv(made.folder / "tests/samples/replies.csv", dtype="str", keep_default_na=False).head(300)
    replies.to_csv(made.folder / "slice.csv", index=False)
    make_writer(base, [*replies["prompt"], *replies["completion"], "system user assistant"])
    assert made.retune("task", "instruct").returncode == 0
    made.git("commit", "-qam", "Write answers")
    ingested = made.retune(
        "ingest", "slice.csv", "--text", "prompt", "--label", "completion", "--id", "request_id",
        "--group", "customer_id",
    )  # fmt: skip
    assert ingested.returncode == 0, ingested.stderr
    weights = hashlib.sha256((base / "model.safetensors").read_bytes()).hexdigest()
    chosen = {**SMALL, "train.base.name": f"folder:{base}", "train.base.sha256": weights}
    made.ran = run(made, chosen)
    return made


def run(clone, chosen):
    settings = [word for key, value in chosen.items() for word in ("-S", f"{key}={value}")]
    ran = clone.retune("run", "--json", *settings, timeout=400)
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    return json.loads(ran.stdout[ran.stdout.index("{\n") :])


def test_a_first_model_beats_its_base_and_becomes_champion(house):
    told = house.ran
    assert told["promoted"]
    assert told["version"]["metrics"]["perplexity"] < 0.9 * told["version"]["base_metrics"]["perplexity"]
    assert "perplexity beats the base" in told["reasons"][0]


def test_every_link_of_its_way_back_holds(house):
    checked = house.retune("verify", "writer@champion")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    record = json.loads(house.retune("lineage", "model", "writer@champion", "--json").stdout)["record"]
    assert record["training"]["method"] == "lora"
    assert record["params"]["train"]["template"] == "chatml"
    assert record["scores"]["probe"] is None
    assert record["data"]["sides"]["train"]["labels"] == {}


def test_it_answers_words_and_messages_alike(house):
    said = house.retune("predict", "writer@champion", "Where is my parcel?", "--json")
    again = house.retune("predict", "writer@champion", '[{"role":"user","content":"Where is my parcel?"}]', "--json")
    assert said.returncode == 0, said.stderr
    one, other = json.loads(said.stdout)[0], json.loads(again.stdout)[0]
    assert (one["label"], one["confidence"]) == (other["label"], other["confidence"])
    assert 0 < one["confidence"] < 1


def test_what_was_tried_next_is_compared_with_the_champion_on_the_same_rows(house):
    told = run(house, {"train.method": "full"})
    assert told["version"]["version"] == 2
    assert any("the champion" in reason for reason in told["reasons"])
    assert house.retune("verify", "writer/2").returncode == 0


def test_an_unchanged_retraining_has_nothing_to_do(house):
    told = house.retune("retrain", "--dry-run", "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["outcome"] == "nothing to do"


def test_a_row_that_was_learned_from_is_found_and_forgotten(house):
    learned = pd.read_parquet(house.folder / "data/splits/train.parquet")["id"].iloc[0]
    seen = house.retune("lineage", "row", learned)
    assert "writer/1" in seen.stdout
    forgot = house.retune("forget", learned, "--reason", "asked to")
    assert "writer/1" in forgot.stdout
    assert "data/suppressed.json" in house.retune("plan").stdout


def test_the_rows_that_a_version_carries_hold_no_text(house):
    kept = list((house.folder / ".retune").rglob("champion_predictions.parquet"))
    for file in kept:
        assert not {"label", "predicted", "base_predicted"} & set(pd.read_parquet(file))


def test_the_task_cannot_change_over_its_records(house):
    text = (house.folder / "params.yaml").read_text("utf-8")
    assert house.retune("task", "instruct").returncode == 2
    assert (house.folder / "params.yaml").read_text("utf-8") == text
    assert yaml.safe_load(text)["task"] == "instruct"
