"""A model that writes, scored by the stage as DVC runs it: a real decoder of two layers, its answers, and a judge."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from sacrebleu import corpus_bleu, corpus_chrf

from retune.config import params
from retune.data import messages, row_table
from retune.errors import Refused
from retune.evaluation import task_metrics
from retune.models import causal_lm, chat_template, decoder
from retune.models.manifest import CausalLMManifest
from retune.promotion import gate_record
from tasks.evaluate import generation, model_answers
from tasks.evaluate.__main__ import main
from tasks.trace import recomputed
from tests.support.environment import ROOT
from tests.support.tiny_models import replies

SHIPPED = yaml.safe_load((ROOT / "retune/config/defaults/instruct.yaml").read_text("utf-8"))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def writer_folder(tiny_causal_lm, tmp_path_factory):
    """A model folder whose adapter is no longer what it began as, though nothing was learned."""
    folder = tmp_path_factory.mktemp("models") / "candidate"
    name, weights = (
        f"folder:{tiny_causal_lm}",
        hashlib.sha256((tiny_causal_lm / "model.safetensors").read_bytes()).hexdigest(),
    )
    tokenizer, network = decoder.load_base(name, weights, "fp32", CPU)
    chat_template.choose(tokenizer, "chatml")
    torch.manual_seed(2)
    network = decoder.add_lora(network, name, 4, 8, 0.0, False, False)
    with torch.no_grad():
        for parameter_name, value in network.named_parameters():
            if "lora_B" in parameter_name:
                value.normal_(0, 0.05)
    causal_lm.save(folder, CausalLMManifest("instruct", "lora", name, weights, 200, 12, "chatml"), tokenizer, network)
    return folder


@pytest.fixture
def stage_folder(tmp_path, monkeypatch, make_replies):
    """A folder with params for the task and 12 rows to score."""
    monkeypatch.chdir(tmp_path)
    values = json.loads(json.dumps(SHIPPED))
    values["evaluate"] |= {"generate_rows": 5, "bootstrap": 100, "batch_size": 4, "golden": {"path": "", "sha256": ""}}
    rows = make_replies(12, seed=9)
    rows.loc[0, "label"] = "<script>alert('hello')</script> the"
    row_table.write(rows, tmp_path / "test.parquet")

    def write(**evaluate):
        values["evaluate"] |= evaluate
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(values), "utf-8")
        return rows

    write()
    return write


def scored(writer_folder):
    main(writer_folder, Path("test.parquet"), Path("reports"))
    return json.loads(Path("reports/evaluate.json").read_text("utf-8")), pd.read_parquet("reports/predictions.parquet")


def test_the_stage_scores_it_beside_its_untouched_base(stage_folder, writer_folder):
    rows = stage_folder()
    report, predictions = scored(writer_folder)
    assert predictions["id"].tolist() == rows["id"].tolist()
    assert (
        predictions["predicted"].notna().sum()
        == predictions["base_predicted"].notna().sum()
        == report["rows_written"]
        == 5
    )
    assert (predictions["nll"] != predictions["base_nll"]).all()
    assert predictions.loc[predictions["predicted"].notna(), "confidence"].between(0, 1).all()
    base = causal_lm.load_base_model(writer_folder)
    rendered = [chat_template.render(base.tokenizer, *pair) for pair in zip(rows["text"], rows["label"], strict=True)]
    assert predictions["base_nll"].to_numpy() == pytest.approx(base.likelihood(rendered, 3).nll, rel=1e-4)
    assert report["perplexity_low"] <= report["perplexity"] <= report["perplexity_high"]
    written = predictions[predictions["predicted"].notna()]
    for prefix in ("", "base_"):
        texts = written[f"{prefix}predicted"].tolist(), [written["label"].tolist()]
        assert report[f"{prefix}bleu"] == pytest.approx(corpus_bleu(*texts).score)
        assert report[f"{prefix}chrf"] == pytest.approx(corpus_chrf(*texts).score)
        scores = task_metrics.recompute_scores("instruct", task_metrics.predictions_of(predictions, prefix), bins=1)
        assert scores == {name: report[f"{prefix}{name}"] for name in task_metrics.of("instruct").titles}
    page = Path("reports/report.html").read_text("utf-8")
    assert "<script" not in page
    assert {file.name for file in Path("reports").rglob("*.png")} == {"likelihood.png", "likeness.png"}


def test_the_same_rows_are_written_for_whatever_the_order(stage_folder):
    rows = stage_folder()
    section = params.load().evaluate
    drawn = model_answers.rows_to_answer(rows["id"], section)
    turned = rows.iloc[::-1]
    assert set(rows["id"][drawn]) == set(turned["id"][model_answers.rows_to_answer(turned["id"], section)])
    assert drawn.sum() == 5


def test_what_the_base_knew_is_asked_of_both(stage_folder, writer_folder, tmp_path):
    lines = [{"query": f"The number {n} is", "choices": ["odd", "even"], "gold": n % 2} for n in range(6)]
    (tmp_path / "numbers.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")
    stage_folder(retention=[{"name": "numbers", "path": str(tmp_path / "numbers.jsonl"), "by_length": False}])
    report, _ = scored(writer_folder)
    questions = gate_record.questions_of(json.loads(Path("reports/details.json").read_text("utf-8")))
    assert questions["set"].tolist() == ["numbers"] * 6
    assert report["general_numbers"] == questions["right"].mean()
    assert report["base_general_numbers"] == questions["base_right"].mean()


@pytest.fixture
def undecided_judge():
    """Settings of a judge that finds any two answers alike, and the requests that it got."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_POST(self):
            requests.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            body = json.dumps({"choices": [{"message": {"content": "VERDICT: TIE"}}]}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    yield {**SHIPPED["evaluate"]["judge"], "url": url, "model": "m"}, requests
    server.shutdown()
    server.server_close()


def test_a_judge_is_asked_only_where_one_is_named(stage_folder, writer_folder, undecided_judge):
    judge, requests = undecided_judge
    report, _ = scored(writer_folder)
    assert not [name for name in report if name.startswith("judge_")]
    stage_folder(judge=judge)
    report, _ = scored(writer_folder)
    assert report["judge_rows"] == 5
    assert len(requests) == 10  # each pair in both orders
    assert report["judge_wins"] == 0


def test_an_empty_side_is_refused(stage_folder, writer_folder):
    with pytest.raises(Refused, match="no rows to score"):
        generation.report_on(writer_folder, stage_folder().head(0), None, (), params.load().evaluate, Path("reports"))


def test_of_pairs_it_says_how_often_the_chosen_answer_is_the_likelier(stage_folder, writer_folder):
    rows = stage_folder().assign(rejected="Never.")
    row_table.write(rows, Path("test.parquet"))
    report, predictions = scored(writer_folder)
    base = causal_lm.load_base_model(writer_folder)
    rendered = [
        chat_template.render(base.tokenizer, *pair) for pair in zip(rows["text"], rows["rejected"], strict=True)
    ]
    likelihood = base.likelihood(rendered, 3)
    assert predictions["base_rejected_nll"].to_numpy() == pytest.approx(likelihood.nll, rel=1e-4)
    assert predictions["rejected_tokens"].tolist() == likelihood.tokens.tolist()
    likelier = predictions["nll"] / predictions["tokens"] < predictions["rejected_nll"] / predictions["rejected_tokens"]
    assert predictions["preferred"].tolist() == likelier.astype(float).tolist()
    assert report["preferred"] == pytest.approx(predictions["preferred"].mean())
    assert report["preferred_low"] <= report["preferred"] <= report["preferred_high"]
    assert report["gain_over_base"] == pytest.approx(report["preferred"] - report["base_preferred"])
    page = Path("reports/report.html").read_text("utf-8")
    assert "<th>preferred</th><th>perplexity</th>" in page and 'alt="preference"' in page
    assert "rejected" not in predictions and not (predictions.astype("str") == "Never.").any(axis=None)


def judged(*answers):
    """Rows of chosen and rejected answers; None where there is no answer."""
    columns = [[messages.NO_ANSWER if answer is None else answer for answer in column] for column in zip(*answers)]  # noqa: B905
    return pd.DataFrame(
        {"id": [f"r{place}" for place in range(len(answers))], "label": columns[0], "rejected": columns[1]}
    )


def test_pairs_are_scored_and_where_there_are_none_the_answers_that_people_liked():
    assert [*generation.rows_to_score(judged(("a", "b"), ("c", None), (None, "d")))["id"]] == ["r0"]
    liked = generation.rows_to_score(judged(("c", None), (None, "d")))
    assert ([*liked["id"]], "rejected" in liked) == (["r0"], False)
    with pytest.raises(Refused, match="people disliked all 2 answers of the test split"):
        generation.rows_to_score(judged((None, "c"), (None, "d")))


def promised(writer_folder):
    """The stage on a candidate that has not learned eight of its ten rows of val; what it reports."""
    learned, val = [Path("train.parquet"), Path("val.parquet")], replies(10, seed=21)
    row_table.write(replies(10, seed=20), learned[0])
    row_table.write(val, learned[1])
    row_table.write(val[["id", "label"]].tail(8), Path("unseen.parquet"))
    main(writer_folder, Path("test.parquet"), Path("reports"), Path("unseen.parquet"), *learned)
    return [
        json.loads(Path(f"reports/{name}.json").read_text("utf-8")) for name in ("evaluate", "automation", "details")
    ]


def test_answers_that_a_judge_finds_as_good_as_the_references_need_no_person(
    stage_folder, writer_folder, undecided_judge, monkeypatch, tmp_path
):
    judge, requests = undecided_judge
    automation = {"measure": "judge", "precision": 0.5, "confidence": 0.9, "rows": 6}
    stage_folder(judge=judge, automation=automation)
    report, document, details = promised(writer_folder)
    assert len(requests) == 2 * (6 + 5 + 5), "of validation, of test against the references, and against the base"
    assert (document["status"], document["measure"], document["validation_rows"]) == ("proved", "judge", 6)
    predictions = pd.read_parquet("reports/predictions.parquet")
    written = predictions[predictions["predicted"].notna()]
    assert (written["right"] == 1).all() and predictions["right"].isna().sum() == 7
    alone = (written["confidence"] >= document["threshold"]).map({True: "auto", False: "human"})
    assert written["route"].tolist() == alone.tolist() and "auto" in set(alone)
    assert report["automated_share"] == (alone == "auto").mean()
    assert details["memorisation"]["counted_rows"] == 0, "test rows have the same answers"
    assert "What the model may do alone" in Path("reports/report.html").read_text("utf-8")
    monkeypatch.setattr(recomputed, "recorded_predictions", lambda _: predictions)
    monkeypatch.setattr(recomputed.dvc_store, "read_bytes", lambda _: Path("reports/details.json").read_bytes())
    record = {
        "automation": document,
        "params": {"task": "instruct", "evaluate": {"automation": automation}},
        "pipeline": {"hashes": {"models/reports/details.json": ""}},
    }
    (tmp_path / "artifacts/candidate").mkdir(parents=True)
    (tmp_path / "artifacts/candidate/automation.json").write_text(json.dumps(document), "utf-8")
    assert [each.ok for each in recomputed.check_automation(record, tmp_path)] == [True, True]
