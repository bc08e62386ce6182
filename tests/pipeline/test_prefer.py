"""From a version that follows instructions to one that prefers as people do, in one clone and one registry: the real
command, a real decoder of two layers, the samples of replies and of pairs.

The tests share one clone and stand in the order of its story.
"""

import hashlib
import json
import math

import pandas as pd
import pytest
import yaml

pytestmark = pytest.mark.slow

SMALL = {
    "train.batch_tokens": 1024,
    "evaluate.generate_rows": 4,
    "evaluate.bootstrap": 100,
    "promote.bootstrap": 200,
    "register.reload_rows": 4,
    "latency.texts": 2,
    "promote.latency_ratio": 100.0,
}
INSTRUCT = {
    **SMALL,
    "train.template": "chatml",
    "train.max_tokens": 256,
    "train.method": "full",
    "train.full.learning_rate": 5.0e-3,
}
PREFER = {**SMALL, "train.epochs": 2, "train.lora.learning_rate": 1.0e-3}


@pytest.fixture(scope="module")
def house(new_clone, prefect_url, make_causal_lm, tmp_path_factory):
    """A clone whose champion writes answers, with a slice of the pairs beside it."""
    base = tmp_path_factory.mktemp("base")
    made = new_clone(tmp_path_factory.mktemp("house"), PREFECT_API_URL=prefect_url)
    for name in ("replies", "preferences"):
        rows = pd.read_csv(made.folder / f"tests/samples/{name}.csv", dtype="str", keep_default_na=False).head(300)
        rows.to_csv(made.folder / f"{name}.csv", index=False)
    told = pd.read_csv(made.folder / "replies.csv", dtype="str")
    make_causal_lm(base, [*told["prompt"], *told["completion"], "system user assistant"])
    right(made.retune("task", "instruct"))
    commit(made, "Write answers")
    right(
        made.retune(
            "ingest", "replies.csv", "--text", "prompt", "--label", "completion", "--id", "request_id",
            "--group", "customer_id",
        )
    )  # fmt: skip
    weights = hashlib.sha256((base / "model.safetensors").read_bytes()).hexdigest()
    run(made, {**INSTRUCT, "train.base.name": f"folder:{base}", "train.base.sha256": weights})
    return made


def right(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run(clone, chosen):
    settings = [word for key, value in chosen.items() for word in ("-S", f"{key}={value}")]
    ran = clone.retune("run", "--json", *settings, timeout=400)
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    return json.loads(ran.stdout[ran.stdout.index("{\n") :])


def commit(clone, title):
    clone.git("commit", "-qam", title)


def written(clone, name):
    return json.loads((clone.folder / name).read_text("utf-8"))


def test_the_task_changes_once_git_holds_the_records(house):
    done = house.retune("task", "prefer", "--from", "writer@champion")
    assert done.returncode == 2 and "params.yaml has uncommitted edits" in done.stderr
    commit(house, "Learned to write")
    done = house.retune("task", "prefer", "--from", "writer@champion")
    assert done.returncode == 2 and "git add data/raw.dvc && git commit" in done.stderr
    house.git("add", "data/raw.dvc")
    commit(house, "Keep the replies")
    head = house.git("rev-parse", "HEAD")[:12]
    assert f"git checkout {head} -- data/raw.dvc" in right(house.retune("task", "prefer", "--from", "writer@champion"))
    assert not (house.folder / "data/raw").exists() and not (house.folder / "data/raw.dvc").exists()


def test_params_and_start_are_those_of_the_version(house):
    values = yaml.safe_load((house.folder / "params.yaml").read_text("utf-8"))
    before = yaml.safe_load(house.git("show", "HEAD:params.yaml"))
    assert (values["task"], values["train"]["method"], values["register"]["name"]) == ("prefer", "dpo", "writer")
    for name in ("base", "template", "max_tokens"):
        assert values["train"][name] == before["train"][name]
    assert values["split"] == before["split"]
    assert written(house, "models/start.json")["from"] == "writer/1"


def test_pairs_make_a_version_that_prefers_the_chosen_answer_more_than_its_base(house):
    right(house.retune("ingest", "preferences.csv", "--id", "pair_id", "--group", "customer_id"))
    house.ran = told = run(house, PREFER)
    version = told["version"]
    assert (version["name"], version["version"]) == ("writer", 2)
    assert version["metrics"]["preferred"] > version["base_metrics"]["preferred"] + 0.1
    assert "preferred beats the base" in told["reasons"][0]
    curve = pd.read_csv(house.folder / "models/reports/learning_curve.csv")
    assert curve["train_loss"].iloc[0] == pytest.approx(math.log(2), abs=1e-5), "it begins as what it started from"
    assert curve["val_loss"].min() < math.log(2)


def test_the_instruct_version_is_compared_on_the_same_pairs_by_the_same_evaluation(house):
    assert any("the champion" in reason for reason in house.ran["reasons"])
    ours, theirs = (
        pd.read_parquet(house.folder / folder / "predictions.parquet")
        for folder in ("models/reports", ".retune/champion")
    )
    assert ours["id"].tolist() == theirs["id"].tolist()
    assert (ours["base_nll"] == theirs["base_nll"]).all()
    assert (ours["rejected_nll"] != theirs["rejected_nll"]).any()
    record = json.loads(right(house.retune("lineage", "model", "writer/2", "--json")))["record"]
    assert record["gate"]["champion"] == "writer/1"
    assert record["scores"]["champion"]["preferred"]["value"] == pytest.approx(theirs["preferred"].mean())


def test_every_link_holds_and_leads_to_the_version_that_it_started_from(house):
    right(house.retune("verify", "writer/2"))
    told = json.loads(right(house.retune("lineage", "model", "writer/2", "--json")))
    links = {link["name"]: link for link in told["links"]}
    assert links["start from writer/1"]["ok"] and links["test rows learned by writer/1"]["found"] == "none"
    begins = told["record"]["training"]["start"]
    train = pd.read_parquet(house.folder / "data/splits/train.parquet")
    assert (begins["from"], begins["new_rows"], begins["gone_rows"]) == ("writer/1", len(train), 0)
    assert told["record"]["training"]["method"] == "dpo"
    first = json.loads(right(house.retune("lineage", "model", "writer/1", "--json")))["record"]
    learned = pd.read_csv(house.folder / "replies.csv", dtype="str")["request_id"]
    assert begins["model_md5"] == first["pipeline"]["hashes"]["models/candidate"]
    seen = json.loads(
        right(house.retune("lineage", "row", sorted(set(learned) & learned_by(house, first))[0], "--json"))
    )
    assert [(each["version"], each["via"]) for each in seen["versions"]] == [(1, None), (2, "writer/1")]


def learned_by(clone, record):
    """The ids of the train side of a version, out of the DVC store."""
    md5 = record["data"]["sides"]["train"]["md5"]
    cache = clone.folder / right(clone.dvc("cache", "dir")).strip()
    return set(pd.read_parquet(cache / "files/md5" / md5[:2] / md5[2:])["id"])


def test_what_a_version_carries_of_the_champion_holds_numbers_and_no_text(house):
    kept = [pd.read_parquet(file) for file in (house.folder / ".retune").rglob("champion_predictions.parquet")]
    assert kept, "version 2 had a rival"
    for said in kept:
        assert not {"label", "rejected", "predicted", "base_predicted"} & set(said)
        assert {"nll", "rejected_nll", "preferred", "base_preferred", "rejected_tokens"} <= set(said)


def test_it_is_rebuilt_from_its_record_to_the_bit(house, tmp_path):
    done = house.retune("reproduce", "writer/2", "--into", str(tmp_path / "again"), timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bit-identical" in done.stdout
    assert "writer/1, from which it continued" in done.stdout


def test_a_pair_whose_worse_answer_was_corrected_is_a_new_row_for_a_retraining(house):
    told = json.loads(right(house.retune("retrain", "--dry-run", "--json")))
    assert (told["outcome"], told["inputs"]["new_rows"]) == ("nothing to do", 0)
    pairs = pd.read_csv(house.folder / "preferences.csv", dtype="str", keep_default_na=False)
    pairs.loc[0, "rejected"] = "No."
    pairs.to_csv(house.folder / "preferences.csv", index=False)
    right(house.retune("ingest", "preferences.csv", "--id", "pair_id", "--group", "customer_id"))
    assert json.loads(right(house.retune("retrain", "--dry-run", "--json")))["inputs"]["new_rows"] == 1


def test_a_start_from_the_base_is_refused_with_what_to_do(house):
    commit(house, "Prefer")
    (house.folder / "models/start.json").write_text('{"from": "base"}\n', "utf-8")
    ran = house.retune("run", timeout=400)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "retune task prefer --from NAME@ALIAS" in ran.stderr
    house.git("checkout", "models/start.json")
