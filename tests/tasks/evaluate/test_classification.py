import json

import numpy as np
import pandas as pd
import pytest
import yaml

from retune.config.classification import Evaluate
from retune.data import row_table
from retune.errors import Refused
from retune.models import classifier
from tasks.evaluate.__main__ import main
from tasks.evaluate.classification import details, evaluate, summary

SECTION = Evaluate(batch_size=8, bootstrap=200, confidence=0.95, seed=17, bins=10, examples=3)
LABELS = ["bills", "parcels", "repairs"]


def knowing(rows, wrong=0, confidence=0.9):
    """A model that is wrong in the first `wrong` rows, where it says the next label."""
    answers = dict(zip(rows["text"], rows["label"], strict=True))

    def predict(texts):
        said = [answers[text] for text in texts]
        said[:wrong] = [LABELS[(LABELS.index(label) + 1) % 3] for label in said[:wrong]]
        return classifier.Predictions(said, np.full(len(texts), confidence))

    return predict


@pytest.fixture
def rows(make_tickets):
    return make_tickets(60)


def test_a_model_that_knows_everything_scores_1(rows):
    scored = evaluate(rows, knowing(rows), SECTION)
    for name in ("accuracy", "macro_f1"):
        found = scored.scores[name]
        assert (found.value, found.low, found.high) == (1, 1, 1)
    assert scored.scores["calibration_error"].value == pytest.approx(0.1)


def test_a_model_that_knows_nothing_scores_0(rows):
    scored = evaluate(rows, knowing(rows, wrong=60), SECTION)
    assert scored.scores["accuracy"].value == scored.scores["macro_f1"].value == 0


def test_the_interval_is_around_the_score_and_the_same_each_time(rows):
    one, same = (evaluate(rows, knowing(rows, wrong=15), SECTION).scores for _ in range(2))
    assert one == same
    assert one["accuracy"].value == 0.75
    assert one["accuracy"].low < 0.75 < one["accuracy"].high


def test_a_label_that_no_row_has_may_still_be_guessed(rows):
    def stranger(texts):
        return classifier.Predictions(["unheard of"] * len(texts), np.full(len(texts), 0.5))

    assert evaluate(rows, stranger, SECTION).scores["macro_f1"].value == 0


def test_no_rows_have_no_score(rows):
    with pytest.raises(Refused, match="no rows to score"):
        evaluate(rows.head(0), knowing(rows), SECTION)


def test_the_model_is_asked_once_with_texts_alone(rows):
    asked = []

    def recorded(texts):
        asked.append(texts)
        return knowing(rows)(texts)

    before = rows.copy(deep=True)
    evaluate(rows, recorded, SECTION)
    assert asked == [rows["text"].tolist()]
    assert rows.equals(before)


def test_the_most_confident_mistakes_come_first_and_only_so_many(rows):
    predict = knowing(rows, wrong=10)

    def surer_and_surer(texts):
        return classifier.Predictions(predict(texts).labels, np.linspace(0.5, 0.9, len(texts)))

    told = details(rows, evaluate(rows, surer_and_surer, SECTION), limit=3)
    assert [row["id"] for row in told["mistakes"]] == [rows["id"][n] for n in (9, 8, 7)]
    assert all(row["label"] != row["predicted"] for row in told["mistakes"])
    assert {(row["label"], row["predicted"]): row["rows"] for row in told["confused"]} == {
        ("bills", "parcels"): 4,
        ("parcels", "repairs"): 3,
        ("repairs", "bills"): 3,
    }
    assert [row["label"] for row in told["labels"]] == LABELS
    json.dumps(told, allow_nan=False)


def test_a_perfect_model_has_no_mistakes_to_list(rows):
    told = details(rows, evaluate(rows, knowing(rows), SECTION), limit=3)
    assert (told["mistakes"], told["confused"]) == ([], [])


def test_the_headline_is_flat_and_tells_the_gains(rows):
    good, base, probe = (evaluate(rows, knowing(rows, wrong), SECTION) for wrong in (0, 60, 30))
    told = summary(good, base, probe, len(rows))
    assert all(isinstance(value, int | float) for value in told.values())
    assert told["gain_over_base"] == 1
    assert told["gain_over_probe"] == pytest.approx(1 - told["probe_macro_f1"])
    assert told["base_accuracy_low"] == 0
    assert told["rows_per_second"] > 0


def test_the_stage_scores_a_model_folder_beside_base_and_probe(
    tmp_path, monkeypatch, settings, model_folder, make_tickets
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    rows = make_tickets(40, seed=9)
    rows.loc[0, "text"] = "<script>alert('hello')</script> the"
    row_table.write(rows, tmp_path / "test.parquet")
    out = tmp_path / "reports"
    main(model_folder, tmp_path / "test.parquet", out)

    told = json.loads((out / "evaluate.json").read_text("utf-8"))
    assert told["macro_f1"] == told["probe_macro_f1"] > told["base_macro_f1"], "the folder's method is probe"
    said = pd.read_parquet(out / "predictions.parquet")
    assert said["id"].tolist() == rows["id"].tolist()
    assert said["label"].tolist() == rows["label"].tolist()
    names = [f"{who}{what}" for who in ("", "base_", "probe_") for what in ("predicted", "confidence")]
    assert list(said) == ["id", "label", *names]
    assert said["predicted"].tolist() == said["probe_predicted"].tolist()
    assert np.mean(said["predicted"] == said["label"]) == told["accuracy"]
    page = (out / "report.html").read_text("utf-8")
    assert "<script" not in page
    assert {file.name for file in out.rglob("*.png")} == {"confusion.png", "reliability.png"}
    assert page.count("data:image/png;base64,") == 2
    assert json.loads((out / "details.json").read_text("utf-8"))["labels"]
