"""Why a version answered so: its nearest rows with what the store has of them, and what is not shown."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from retune.data import suppression
from retune.errors import Refused
from retune.models import classifier, explanation, row_vectors
from retune.serving.explainer import NEIGHBOURS, Explainer
from retune.system import dvc_store

RECORD = {"data": {"sides": {"train": {"md5": "t"}, "val": {"md5": "v"}}}}
MODEL = classifier.Classifier(None, None, None, None)
IDS = [f"r{number}" for number in range(8)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Of a version with eight rows, of which r0 is nearest to every text, and r7 farthest."""
    angles = np.linspace(0, 1, 8)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    row_vectors.write(row_vectors.sample(IDS, vectors, 100, 17), tmp_path)
    rows = pd.DataFrame({"id": IDS, "source": "desk", "label": "bills", "text": [f"text {name}" for name in IDS]})
    splits = {"t": rows.head(4), "v": rows.tail(4)}
    base = SimpleNamespace(embed=lambda texts: torch.tensor([[1.0, 0.0]] * len(texts)))
    monkeypatch.setattr(classifier, "load_probe", lambda _: base)
    monkeypatch.setattr(explanation, "of_classifier", lambda model, text, label: [])
    monkeypatch.setattr(suppression, "read", lambda: suppression.NOTHING)
    monkeypatch.setattr(dvc_store, "table", lambda md5, _: pa.Table.from_pandas(splits[md5]) if md5 in splits else None)
    return tmp_path, splits


def test_the_nearest_rows_come_with_what_the_recorded_splits_say_of_them(folder):
    answer = Explainer(MODEL, folder[0], RECORD).explain("a text", "bills")
    assert [row.id for row in answer.neighbours] == IDS[:NEIGHBOURS]
    first, fifth = answer.neighbours[0], answer.neighbours[4]
    assert (first.source, first.label, first.text) == ("desk", "bills", "text r0") and fifth.text == "text r4"
    assert first.similarity == pytest.approx(1, abs=1e-3) and answer.missing == ""


def test_a_row_that_is_forgotten_is_not_shown_and_another_takes_its_place(folder, monkeypatch):
    listed = suppression.add(suppression.NOTHING, ["r0"], "asked", "me", "2026-01-01")
    monkeypatch.setattr(suppression, "read", lambda: listed)
    answer = Explainer(MODEL, folder[0], RECORD).explain("a text", "bills")
    assert [row.id for row in answer.neighbours] == IDS[1 : NEIGHBOURS + 1]
    assert answer.missing == "1 near row is forgotten and not shown"


def test_where_the_store_has_lost_the_rows_their_ids_remain(folder):
    del folder[1]["t"]
    answer = Explainer(MODEL, folder[0], RECORD).explain("a text", "bills")
    assert [row.text for row in answer.neighbours] == [None] * 4 + ["text r4"]
    assert "lost the text of 4 rows" in answer.missing


def test_a_version_without_vectors_explains_by_words_alone_and_says_why(folder):
    (folder[0] / row_vectors.FILE).unlink()
    answer = Explainer(MODEL, folder[0], RECORD).explain("a text", "bills")
    assert answer.neighbours == [] and "keeps no vectors" in answer.missing


def test_a_model_that_writes_is_refused(folder):
    with pytest.raises(Refused, match="this model writes texts"):
        Explainer(SimpleNamespace(), folder[0], RECORD)
