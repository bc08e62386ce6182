import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml

from retune.config.classification import Automation, Evaluate, OutOfScope
from retune.config.evaluation import Memorisation, Robustness, SliceSearch
from retune.config.golden import Golden
from retune.data import row_table
from retune.errors import Refused
from retune.models import classifier
from retune.system.files import file_sha256
from tasks.evaluate.__main__ import main
from tasks.evaluate.classification import details, evaluate, scores_of_slices, summary

NO_CASES = Golden(path="", sha256="")
AUTOMATION = Automation(precision=0.9, confidence=0.95, by_label=False, out_of_scope=OutOfScope(path="", sha256=""))
SECTION = Evaluate(
    batch_size=8,
    bootstrap=200,
    confidence=0.95,
    seed=17,
    bins=10,
    examples=3,
    golden=NO_CASES,
    automation=AUTOMATION,
    slice_search=SliceSearch(rows=1000, min_rows=10, permutations=100),
    memorisation=Memorisation(rows=20),
    robustness=Robustness(rows=60, kinds=["typos", "case", "diacritics"], paraphrases=[]),
)
LABELS = ["bills", "parcels", "repairs"]


def knowing(labelled_rows, wrong=0, confidence=0.9):
    """A model that is wrong in the first `wrong` rows, where it says the next label."""
    answers = dict(zip(labelled_rows["text"], labelled_rows["label"], strict=True))

    def predict(texts):
        labels = [answers[text] for text in texts]
        labels[:wrong] = [LABELS[(LABELS.index(label) + 1) % 3] for label in labels[:wrong]]
        return classifier.Predictions(labels, np.full(len(texts), confidence))

    return predict


@pytest.fixture
def labelled_rows(make_tickets):
    return make_tickets(60)


def test_a_model_that_knows_everything_scores_1(labelled_rows):
    scored = evaluate(labelled_rows, knowing(labelled_rows), SECTION)
    for name in ("accuracy", "macro_f1"):
        score = scored.scores[name]
        assert (score.value, score.low, score.high) == (1, 1, 1)
    assert scored.scores["calibration_error"].value == pytest.approx(0.1)


def test_a_model_that_knows_nothing_scores_0(labelled_rows):
    scored = evaluate(labelled_rows, knowing(labelled_rows, wrong=60), SECTION)
    assert scored.scores["accuracy"].value == scored.scores["macro_f1"].value == 0


def test_the_interval_is_around_the_score_and_the_same_each_time(labelled_rows):
    one, same = (evaluate(labelled_rows, knowing(labelled_rows, wrong=15), SECTION).scores for _ in range(2))
    assert one == same
    assert one["accuracy"].value == 0.75
    assert one["accuracy"].low < 0.75 < one["accuracy"].high


def test_a_label_that_no_row_has_may_still_be_guessed(labelled_rows):
    def stranger(texts):
        return classifier.Predictions(["unheard of"] * len(texts), np.full(len(texts), 0.5))

    assert evaluate(labelled_rows, stranger, SECTION).scores["macro_f1"].value == 0


def test_no_rows_have_no_score(labelled_rows):
    with pytest.raises(Refused, match="no rows to score"):
        evaluate(labelled_rows.head(0), knowing(labelled_rows), SECTION)


def test_the_model_is_asked_once_with_texts_alone(labelled_rows):
    calls = []

    def recorded(texts):
        calls.append(texts)
        return knowing(labelled_rows)(texts)

    before = labelled_rows.copy(deep=True)
    evaluate(labelled_rows, recorded, SECTION)
    assert calls == [labelled_rows["text"].tolist()]
    assert labelled_rows.equals(before)


def test_the_most_confident_mistakes_come_first_and_only_so_many(labelled_rows):
    predict = knowing(labelled_rows, wrong=10)

    def surer_and_surer(texts):
        return classifier.Predictions(predict(texts).labels, np.linspace(0.5, 0.9, len(texts)))

    mistakes = details(labelled_rows, evaluate(labelled_rows, surer_and_surer, SECTION), limit=3)
    assert [row["id"] for row in mistakes["mistakes"]] == [labelled_rows["id"][n] for n in (9, 8, 7)]
    assert all(row["label"] != row["predicted"] for row in mistakes["mistakes"])
    assert {(row["label"], row["predicted"]): row["rows"] for row in mistakes["confused"]} == {
        ("bills", "parcels"): 4,
        ("parcels", "repairs"): 3,
        ("repairs", "bills"): 3,
    }
    assert [row["label"] for row in mistakes["labels"]] == LABELS
    json.dumps(mistakes, allow_nan=False)


def test_a_perfect_model_has_no_mistakes_to_list(labelled_rows):
    mistakes = details(labelled_rows, evaluate(labelled_rows, knowing(labelled_rows), SECTION), limit=3)
    assert (mistakes["mistakes"], mistakes["confused"]) == ([], [])


def test_the_headline_is_flat_and_tells_the_gains(labelled_rows):
    good, base, probe = (evaluate(labelled_rows, knowing(labelled_rows, wrong), SECTION) for wrong in (0, 60, 30))
    headline = summary(good, base, probe, len(labelled_rows))
    assert all(isinstance(value, int | float) for value in headline.values())
    assert headline["gain_over_base"] == 1
    assert headline["gain_over_probe"] == pytest.approx(1 - headline["probe_macro_f1"])
    assert headline["base_accuracy_low"] == 0
    assert headline["rows_per_second"] > 0


def test_the_stage_scores_a_model_folder_beside_base_and_probe(
    tmp_path, monkeypatch, settings, model_folder, make_tickets
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "others.csv").write_text("text\nGuten Morgen\nWie spät ist es?\n", "utf-8")
    others = {"path": "others.csv", "sha256": file_sha256(tmp_path / "others.csv")}
    automation = {**settings["evaluate"]["automation"], "out_of_scope": others}
    values = {**settings, "evaluate": {**settings["evaluate"], "automation": automation}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values), "utf-8")
    rows = make_tickets(40, seed=9)
    rows.loc[0, "text"] = "<script>alert('hello')</script> the"
    row_table.write(rows, tmp_path / "test.parquet")
    out = tmp_path / "reports"
    answers = classifier.load(model_folder, "cpu").predict(rows["text"].tolist())
    validation = rows[["id", "label"]].assign(predicted=rows["label"], confidence=answers.confidence.astype("float64"))
    row_table.write(validation, tmp_path / "validation.parquet")
    kept_apart = pd.DataFrame({"id": ["o1", "o2"], "text": ["Guten Morgen", "Wo ist der Ball?"]})
    row_table.write(kept_apart, tmp_path / "out_of_scope.parquet")
    of_training = (tmp_path / "validation.parquet", None, None, tmp_path / "out_of_scope.parquet")
    main(model_folder, tmp_path / "test.parquet", out, *of_training)

    report = json.loads((out / "evaluate.json").read_text("utf-8"))
    assert report["macro_f1"] == report["probe_macro_f1"] > report["base_macro_f1"], "the folder's method is probe"
    predictions = pd.read_parquet(out / "predictions.parquet")
    assert predictions["id"].tolist() == rows["id"].tolist()
    assert predictions["label"].tolist() == rows["label"].tolist()
    names = [f"{who}{what}" for who in ("", "base_", "probe_") for what in ("predicted", "confidence")]
    assert list(predictions)[: len(names) + 3] == ["id", "label", *names, "route"]
    assert "robust_case" in predictions and report["robustness_typos_low"] <= report["robustness_typos"]
    assert predictions["predicted"].tolist() == predictions["probe_predicted"].tolist()
    assert np.mean(predictions["predicted"] == predictions["label"]) == report["accuracy"]
    page = (out / "report.html").read_text("utf-8")
    assert "<script" not in page
    assert {file.name for file in out.rglob("*.png")} == {"confusion.png", "reliability.png", "risk_coverage.png"}
    assert page.count("data:image/png;base64,") == 3
    assert json.loads((out / "details.json").read_text("utf-8"))["labels"]

    chosen = json.loads((out / "automation.json").read_text("utf-8"))
    assert chosen["status"] == "unreachable", "forty rows are too few to promise 98%"
    assert "40 validation rows are too few" in page
    assert set(predictions["route"]) == {"human"}
    assert report["automated_share"] == 0 < report["aurc"]
    assert chosen["out_of_scope"]["share"]["n"] == 3, "two of the file and two of the records, one text in both"
    assert 0 <= report["out_of_scope_auroc"] <= 1
    assert report["out_of_scope_automated"] == 0 < report["out_of_scope_automated_high"]
    assert "belong to none of the labels" in page


def test_a_model_folder_that_carries_its_thresholds_is_scored_by_them(
    tmp_path, monkeypatch, settings, model_folder, make_tickets
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    row_table.write(make_tickets(40, seed=9), tmp_path / "test.parquet")
    champion = shutil.copytree(model_folder, tmp_path / "champion")
    (champion / "automation.json").write_text('{"threshold": 0.6, "labels": {}, "reason": "x"}', "utf-8")
    main(champion, tmp_path / "test.parquet", tmp_path / "reports")
    predictions = pd.read_parquet(tmp_path / "reports/predictions.parquet")
    assert ((predictions["confidence"] >= 0.6) == (predictions["route"] == "auto")).all()
    assert set(predictions["route"]) == {"auto", "human"}
    assert not (tmp_path / "reports/automation.json").exists(), "its choice was made when it was registered"


def test_each_slice_is_scored_on_its_own_rows(labelled_rows):
    table = labelled_rows.assign(slices=['{"channel": "chat"}'] * 15 + ['{"channel": "mail"}'] * 45)
    (column,) = scores_of_slices(table, evaluate(table, knowing(table, wrong=15), SECTION), SECTION)
    scores = {each["value"]: each["scores"]["accuracy"]["value"] for each in column["values"]}
    assert scores == {"chat": 0.0, "mail": 1.0}
