"""The candidate is asked the golden cases, and what it fails is printed."""

import numpy as np
import pandas as pd

from retune.config.golden import Golden
from retune.evaluation.golden_cases import HEADER
from retune.models.classifier import Predictions
from retune.system.files import file_sha256
from tasks.evaluate import golden


def test_each_case_is_answered_once_and_what_fails_is_said(tmp_path, capsys):
    path = tmp_path / "golden.csv"
    path.write_text(f"{HEADER}a,one,x,,,\nb,two,y,,,\n", "utf-8")
    calls = []

    def predict(texts):
        calls.append(texts)
        return Predictions(["x", "x"], np.array([0.75, 0.5]))

    results = golden.ask(Golden(path=str(path), sha256=file_sha256(path)), predict, [])
    assert calls == [["one", "two"]]
    assert [(result.name, result.answer, result.confidence) for result in results] == [
        ("b", "x", 0.5),
        ("a", "x", 0.75),
    ]
    assert capsys.readouterr().out == "golden cases: 1 of 2 pass\n  failed: b: 'y' expected, not 'x'\n"


def test_without_a_case_the_model_is_not_asked(capsys):
    assert golden.ask(Golden(path="", sha256=""), lambda texts: 1 / 0, []) == []
    assert capsys.readouterr().out == ""


def test_a_case_whose_text_was_learned_is_named_with_its_rows_and_counts_all_the_same(tmp_path, capsys):
    path = tmp_path / "golden.csv"
    path.write_text(f"{HEADER}a,Where is it?,x,,,\nb,two,x,,,\n", "utf-8")
    for name, ids, texts in (("train", ["r1", "r2"], ["where is IT", "else"]), ("val", ["r3"], ["Where is it?"])):
        pd.DataFrame({"id": ids, "text": texts}).to_parquet(tmp_path / name)
    results = golden.ask(
        Golden(path=str(path), sha256=file_sha256(path)),
        lambda texts: Predictions(["x", "x"], np.array([0.75, 0.5])),
        [tmp_path / "train", tmp_path / "val"],
    )
    assert [(result.name, result.rows, result.problem) for result in results] == [
        ("a", ["r1", "r3"], ""),
        ("b", [], ""),
    ]
    assert "warning: the golden case a was learned: row r1, r3" in capsys.readouterr().out
