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
def writer_clone(new_clone, prefect_url, make_causal_lm, tmp_path_factory):
    """A clone whose champion writes answers, with a slice of the pairs beside it."""
    base = tmp_path_factory.mktemp("base")
    writer_clone = new_clone(tmp_path_factory.mktemp("house"), PREFECT_API_URL=prefect_url)
    for name in ("replies", "preferences"):
        rows = pd.read_csv(writer_clone.folder / f"tests/samples/{name}.csv", dtype="str", keep_default_na=False).head(
            300
        )
        rows.to_csv(writer_clone.folder / f"{name}.csv", index=False)
    replies = pd.read_csv(writer_clone.folder / "replies.csv", dtype="str")
    make_causal_lm(base, [*replies["prompt"], *replies["completion"], "system user assistant"])
    right(writer_clone.retune("task", "instruct"))
    commit(writer_clone, "Write answers")
    right(
        writer_clone.retune(
            "ingest", "replies.csv", "--text", "prompt", "--label", "completion", "--id", "request_id",
            "--group", "customer_id",
        )
    )  # fmt: skip
    weights = hashlib.sha256((base / "model.safetensors").read_bytes()).hexdigest()
    run(writer_clone, {**INSTRUCT, "train.base.name": f"folder:{base}", "train.base.sha256": weights})
    return writer_clone


def right(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run(clone, settings_chosen):
    settings = [word for key, value in settings_chosen.items() for word in ("-S", f"{key}={value}")]
    ran = clone.retune("run", "--json", *settings, timeout=400)
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    return json.loads(ran.stdout[ran.stdout.index("{\n") :])


def commit(clone, title):
    clone.git("commit", "-qam", title)


def written(clone, name):
    return json.loads((clone.folder / name).read_text("utf-8"))


def test_the_task_changes_once_git_holds_the_records(writer_clone):
    done = writer_clone.retune("task", "prefer", "--from", "writer@champion")
    assert done.returncode == 2 and "params.yaml has uncommitted edits" in done.stderr
    commit(writer_clone, "Learned to write")
    done = writer_clone.retune("task", "prefer", "--from", "writer@champion")
    assert done.returncode == 2 and "git add data/raw.dvc && git commit" in done.stderr
    writer_clone.git("add", "data/raw.dvc")
    commit(writer_clone, "Keep the replies")
    head = writer_clone.git("rev-parse", "HEAD")[:12]
    assert f"git checkout {head} -- data/raw.dvc" in right(
        writer_clone.retune("task", "prefer", "--from", "writer@champion")
    )
    assert not (writer_clone.folder / "data/raw").exists() and not (writer_clone.folder / "data/raw.dvc").exists()


def test_params_and_start_are_those_of_the_version(writer_clone):
    values = yaml.safe_load((writer_clone.folder / "params.yaml").read_text("utf-8"))
    before = yaml.safe_load(writer_clone.git("show", "HEAD:params.yaml"))
    assert (values["task"], values["train"]["method"], values["register"]["name"]) == ("prefer", "dpo", "writer")
    for name in ("base", "template", "max_tokens"):
        assert values["train"][name] == before["train"][name]
    assert values["split"] == before["split"]
    assert written(writer_clone, "models/start.json")["from"] == "writer/1"


def test_pairs_make_a_version_that_prefers_the_chosen_answer_more_than_its_base(writer_clone):
    right(writer_clone.retune("ingest", "preferences.csv", "--id", "pair_id", "--group", "customer_id"))
    writer_clone.ran = process = run(writer_clone, PREFER)
    version = process["version"]
    assert (version["name"], version["version"]) == ("writer", 2)
    assert version["metrics"]["preferred"] > version["base_metrics"]["preferred"] + 0.1
    assert "preferred beats the base" in process["reasons"][0]
    curve = pd.read_csv(writer_clone.folder / "models/reports/learning_curve.csv")
    assert curve["train_loss"].iloc[0] == pytest.approx(math.log(2), abs=1e-5), "it begins as what it started from"
    assert curve["val_loss"].min() < math.log(2)


def test_the_instruct_version_is_compared_on_the_same_pairs_by_the_same_evaluation(writer_clone):
    assert any("the champion" in reason for reason in writer_clone.ran["reasons"])
    predictions, parent_predictions = (
        pd.read_parquet(writer_clone.folder / folder / "predictions.parquet")
        for folder in ("models/reports", ".retune/champion")
    )
    assert predictions["id"].tolist() == parent_predictions["id"].tolist()
    assert (predictions["base_nll"] == parent_predictions["base_nll"]).all()
    assert (predictions["rejected_nll"] != parent_predictions["rejected_nll"]).any()
    record = json.loads(right(writer_clone.retune("lineage", "model", "writer/2", "--json")))["record"]
    assert record["gate"]["champion"] == "writer/1"
    assert record["scores"]["champion"]["preferred"]["value"] == pytest.approx(parent_predictions["preferred"].mean())


def test_every_link_holds_and_leads_to_the_version_that_it_started_from(writer_clone):
    right(writer_clone.retune("verify", "writer/2"))
    lineage = json.loads(right(writer_clone.retune("lineage", "model", "writer/2", "--json")))
    links = {link["name"]: link for link in lineage["links"]}
    assert links["start from writer/1"]["ok"] and links["test rows learned by writer/1"]["found"] == "none"
    begins = lineage["record"]["training"]["start"]
    train = pd.read_parquet(writer_clone.folder / "data/splits/train.parquet")
    assert (begins["from"], begins["new_rows"], begins["gone_rows"]) == ("writer/1", len(train), 0)
    assert lineage["record"]["training"]["method"] == "dpo"
    first = json.loads(right(writer_clone.retune("lineage", "model", "writer/1", "--json")))["record"]
    learned = pd.read_csv(writer_clone.folder / "replies.csv", dtype="str")["request_id"]
    assert begins["model_md5"] == first["pipeline"]["hashes"]["models/candidate"]
    traced = json.loads(
        right(
            writer_clone.retune("lineage", "row", sorted(set(learned) & learned_by(writer_clone, first))[0], "--json")
        )
    )
    assert [(each["version"], each["via"]) for each in traced["versions"]] == [(1, None), (2, "writer/1")]


def learned_by(clone, record):
    """The ids of the train side of a version, out of the DVC store."""
    md5 = record["data"]["sides"]["train"]["md5"]
    cache = clone.folder / right(clone.dvc("cache", "dir")).strip()
    return set(pd.read_parquet(cache / "files/md5" / md5[:2] / md5[2:])["id"])


def test_what_a_version_carries_of_the_champion_holds_numbers_and_no_text(writer_clone):
    tables = [pd.read_parquet(file) for file in (writer_clone.folder / ".retune").rglob("champion_predictions.parquet")]
    assert tables, "version 2 had a rival"
    for table in tables:
        assert not {"label", "rejected", "predicted", "base_predicted"} & set(table)
        assert {"nll", "rejected_nll", "preferred", "base_preferred", "rejected_tokens"} <= set(table)


def test_it_is_rebuilt_from_its_record_to_the_bit(writer_clone, tmp_path):
    done = writer_clone.retune("reproduce", "writer/2", "--into", str(tmp_path / "again"), timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bit-identical" in done.stdout
    assert "writer/1, from which it continued" in done.stdout


def test_a_pair_whose_worse_answer_was_corrected_is_a_new_row_for_a_retraining(writer_clone):
    report = json.loads(right(writer_clone.retune("retrain", "--dry-run", "--json")))
    assert (report["outcome"], report["inputs"]["new_rows"]) == ("nothing to do", 0)
    pairs = pd.read_csv(writer_clone.folder / "preferences.csv", dtype="str", keep_default_na=False)
    pairs.loc[0, "rejected"] = "No."
    pairs.to_csv(writer_clone.folder / "preferences.csv", index=False)
    right(writer_clone.retune("ingest", "preferences.csv", "--id", "pair_id", "--group", "customer_id"))
    assert json.loads(right(writer_clone.retune("retrain", "--dry-run", "--json")))["inputs"]["new_rows"] == 1


def test_a_start_from_the_base_is_refused_with_what_to_do(writer_clone):
    commit(writer_clone, "Prefer")
    (writer_clone.folder / "models/start.json").write_text('{"from": "base"}\n', "utf-8")
    ran = writer_clone.retune("run", timeout=400)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "retune task prefer --from NAME@ALIAS" in ran.stderr
    writer_clone.git("checkout", "models/start.json")
