"""Whether a version, loaded again in a clean process, says what was recorded of it: asked before an alias moves."""

import numpy as np
import pandas as pd
import pyarrow as pa

from retune.config import renames
from retune.errors import Refused
from retune.lineage.record import Record
from retune.models import routing
from retune.registry import clean_process, versions
from retune.system import dvc_store

RELOADED, REFUSED = "reloaded", "refused"  # tags of a version: how near it came, or why it is no challenger
PREDICTIONS = "models/reports/predictions.parquet"


def recorded(version_record: Record) -> pd.DataFrame:
    """text, predicted and confidence of test rows: as many as were asked when the version was registered.

    A version does not carry the texts: they are people's own. Raises Refused if the store has lost or changed them.
    """
    predictions_md5, test = (
        version_record["pipeline"]["hashes"][PREDICTIONS],
        version_record["data"]["sides"]["test"]["md5"],
    )
    rows = answered(dvc_store.read_verified(predictions_md5, ["id", "predicted", "confidence"])).head(
        renames.upgrade(version_record["params"])["register"]["reload_rows"]
    )
    texts = dvc_store.read_verified(test, ["id", "text"]).set_index("id")["text"]
    return rows.assign(text=texts.loc[rows["id"]].tolist())


def answered(predictions: pd.DataFrame) -> pd.DataFrame:
    """The rows for which the model has said something: one that writes does so for some of them."""
    return predictions[predictions["predicted"].notna()]


def says_the_same(version: versions.Version, version_record: Record, reader: clean_process.Reader) -> str:
    """In words how near it came. Raises Refused if it is not as recorded, or if nobody can know.

    reader: a clean process, in which it is loaded.
    """
    try:
        expected = recorded(version_record)
    except (Refused, KeyError, pa.ArrowException) as error:
        raise Refused(
            f"Cannot check whether {version} predicts as recorded, so no alias moved: {error}. "
            "`dvc pull` may bring back the test rows and what was predicted of them"
        ) from None
    again = clean_process.predict_in_clean_process(reader, version, expected["text"].tolist())
    automation = version_record.get("automation")
    rule = routing.parse(automation) if automation else None
    return agreement(version, expected, again, rule, version_record["params"]["register"]["tolerance"])


def agreement(
    version: versions.Version,
    expected: pd.DataFrame,
    again: pd.DataFrame,
    rule: routing.Routing | None,
    tolerance: float,
) -> str:
    """In words how near `again` came to what was `said`. Raises Refused if it is further away than `tolerance`.

    rule: who was to answer; None for a version of an earlier release, which says nothing about it.
    """
    distance = largest_distance(expected, again)
    if not distance <= tolerance:  # a confidence that is no number is no agreement either
        reason = f"{version} says something else once reloaded: confidence off by {distance:.2g}, or another label"
        raise Refused(f"{reason}; allowed is {tolerance:.2g}. No alias was moved")
    if rule and again["route"].tolist() != rule.routes(again["label"].tolist(), again["confidence"].to_numpy()):
        raise Refused(
            f"{version} sends answers to other routes once reloaded than {routing.FILE} says: register it again. "
            "No alias was moved"
        )
    return f"{len(expected)} test rows, confidence off by {distance:.2g} at most"


def largest_distance(expected: pd.DataFrame, again: pd.DataFrame) -> float:
    """The largest difference in confidence; 1 if any label differs."""
    if expected["predicted"].tolist() != again["label"].tolist():
        return 1.0
    return float(np.abs(expected["confidence"].to_numpy() - again["confidence"].to_numpy()).max())
