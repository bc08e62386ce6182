import pandas as pd
import pyarrow as pa
import pytest

from retune.data import suppression
from retune.errors import Refused
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
