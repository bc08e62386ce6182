from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from retune.data import suppression
from retune.errors import Refused
from retune.lineage import history
from retune.models import base_model, causal_lm, chat_template, decoder
from retune.models.manifest import CausalLMManifest
from retune.registry import versions
from retune.registry.version import Version
from retune.system import dvc_store
from tasks.forget import check
from tests.support.environment import ROOT


def version(number, **tags):
    tags = {f"data.{side}": f"{side} of {number}" for side in ("train", "val", "test")} | tags
    return Version("classifier", number, "a run", "2026-11-24T10:00:00Z", (), tags)


@pytest.fixture
def shop(tmp_path, monkeypatch, make_tickets, model_folder):
    """Two versions of a real model. The second has not learned from the first 40 rows; both are tested on others."""
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    rows = make_tickets(240, seed=9).assign(id=[f"T-{number}" for number in range(240)])
    tables = {
        "train of 1": rows[:100],
        "train of 2": rows[40:100],
        **{f"val of {number}": rows[100:110] for number in (1, 2)},
        **{f"test of {number}": rows[120:240] for number in (1, 2)},
    }
    registered = [version(1), version(2)]
    monkeypatch.setattr(versions, "resolve", lambda reference: registered[int(reference[-1]) - 1])
    monkeypatch.setattr(versions, "versions", lambda name: registered)
    monkeypatch.setattr(versions, "model_folder", lambda each: model_folder)
    monkeypatch.setattr(
        dvc_store, "table", lambda md5, names: pa.Table.from_pandas(tables[md5][names]) if md5 in tables else None
    )
    forget([])
    return tables


def forget(numbers):
    suppression.LIST.parent.mkdir(exist_ok=True)
    listed = suppression.NOTHING
    if numbers:
        ids = [f"T-{number}" for number in numbers]
        listed = suppression.add(listed, ids, "asked", "A. Tester", "2026-11-24T10:00:00Z")
    suppression.write(listed, suppression.LIST)


def test_rows_of_the_kind_that_is_tested_look_unseen(shop):
    forget(range(40))
    result = check.check("classifier/2")
    assert (result.verdict, result.forgotten_rows, result.test_rows) == (check.LIKE_UNSEEN, 40, 120)
    assert result.auc.low < 0.5 < result.auc.high and result.passed


def test_a_model_that_is_surer_of_forgotten_rows_than_of_others_still_knows_them(shop):
    others = {"bills": "parcels", "parcels": "repairs", "repairs": "bills"}
    test = shop["test of 2"]
    half = test["label"].where(test.index % 2 == 0, test["label"].map(others))
    shop["test of 2"] = test.assign(label=half)
    forget(range(40))
    result = check.check("classifier/2")
    assert (result.verdict, result.passed) == (check.LIKE_LEARNED, False) and result.auc.low > 0.5


def test_a_version_that_learned_from_listed_rows_is_told_by_their_ids(shop):
    forget(range(38, 42))
    result = check.check("classifier/2")
    assert (result.verdict, result.learned, result.passed) == (check.LEARNED_FROM, ("T-40", "T-41"), False)


def test_few_rows_prove_nothing(shop):
    forget(range(9))
    result = check.check("classifier/2")
    assert (result.verdict, result.forgotten_rows, result.auc) == (check.TOO_FEW, 9, None)


def test_without_forgotten_rows_or_their_bytes_it_says_so(shop):
    with pytest.raises(Refused, match=r"no row on the list .* was learned by a version before classifier/2"):
        check.check("classifier/2")
    forget(range(40))
    del shop["train of 1"]
    with pytest.raises(Refused, match=r"the train rows of classifier/1 are gone from DVC's cache"):
        check.check("classifier/2")


def test_a_row_that_was_corrected_counts_in_its_newest_state(shop):
    shop["train of 1"] = pd.concat([shop["train of 1"], shop["train of 1"][:5].assign(text="another")])
    forget(range(40))
    assert check.check("classifier/2").forgotten_rows == 40


def test_rows_that_a_version_inherited_count_as_learned(shop, monkeypatch):
    forget(range(40))
    entries = {number: SimpleNamespace(start="classifier/1" if number == 2 else "base") for number in (1, 2)}
    for number, entry in entries.items():
        entry.version_name = f"classifier/{number}"
        entry.facts = {"Train": f"train of {number}", "Val": f"val of {number}"}
    monkeypatch.setattr(history, "read", lambda _: SimpleNamespace(registered=entries.get))
    monkeypatch.setattr(versions, "resolve", lambda _: version(2, start="classifier/1"))
    result = check.check("classifier/2")
    assert (result.verdict, len(result.learned)) == (check.LEARNED_FROM, 40)
    entries[2].start = "classifier/7"
    with pytest.raises(Refused, match="continued from classifier/7, which the history does not know"):
        check.check("classifier/2")


@pytest.fixture
def writer_folder(tiny_causal_lm, tmp_path):
    """A version that writes and has learned nothing: its base, saved."""
    base = f"folder:{tiny_causal_lm}", base_model.weights_sha256(tiny_causal_lm)
    tokenizer, network = decoder.load_base(*base, "fp32", torch.device("cpu"))
    chat_template.choose(tokenizer, "chatml")
    manifest = CausalLMManifest("instruct", "full", *base, 200, 40, "chatml")
    causal_lm.save(tmp_path / "writer", manifest, tokenizer, network)
    return tmp_path / "writer"


def test_a_version_that_writes_is_asked_how_likely_it_finds_the_answers(shop, writer_folder, make_replies, monkeypatch):
    for name, rows in shop.items():
        answers = make_replies(len(rows), seed=9)
        shop[name] = rows.assign(text=answers["text"].tolist(), label=answers["label"].tolist())
    monkeypatch.setattr(versions, "model_folder", lambda each: writer_folder)
    forget(range(12))
    result = check.check("classifier/2")
    assert (result.verdict, result.forgotten_rows) == (check.LIKE_UNSEEN, 12)
    sure = [
        check._log_likelihood(each(writer_folder), shop["train of 1"][:2])
        for each in (causal_lm.load, causal_lm.load_base_model)
    ]
    assert np.allclose(*sure), "it is its base"

    def loads_a_version_that_remembers(rows):
        return np.where(rows["id"].isin(shop["train of 1"]["id"]), 0.0, -3.0)

    likelihoods = iter([loads_a_version_that_remembers, lambda rows: np.full(len(rows), -3.0)])
    monkeypatch.setattr(check, "_log_likelihood", lambda _, rows: next(likelihoods)(rows))
    assert check.check("classifier/2").verdict == check.LIKE_LEARNED
