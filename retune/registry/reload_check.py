"""Whether a version, loaded again in a clean process, says what was recorded of it: asked before an alias moves."""

import numpy as np
import pandas as pd
import pyarrow as pa

from retune.config import renames
from retune.errors import Refused
from retune.lineage.record import Record
from retune.registry import clean_process, versions
from retune.system import dvc_store

RELOADED, REFUSED = "reloaded", "refused"  # tags of a version: how near it came, or why it is no challenger
PREDICTIONS = "models/reports/predictions.parquet"


def recorded(made: Record) -> pd.DataFrame:
    """text, predicted and confidence of test rows: as many as were asked when the version was registered.

    A version does not carry the texts: they are people's own. Raises Refused if the store has lost or changed them.
    """
    said, test = made["pipeline"]["hashes"][PREDICTIONS], made["data"]["sides"]["test"]["md5"]
    rows = answered(dvc_store.read_verified(said, ["id", "predicted", "confidence"])).head(
        renames.upgrade(made["params"])["register"]["reload_rows"]
    )
    texts = dvc_store.read_verified(test, ["id", "text"]).set_index("id")["text"]
    return rows.assign(text=texts.loc[rows["id"]].tolist())


def answered(said: pd.DataFrame) -> pd.DataFrame:
    """The rows for which the model has said something: one that writes does so for some of them."""
    return said[said["predicted"].notna()]


def says_the_same(version: versions.Version, made: Record, reader: clean_process.Reader) -> str:
    """In words how near it came. Raises Refused if it is not as recorded, or if nobody can know.

    reader: a clean process, in which it is loaded.
    """
    try:
        said = recorded(made)
    except (Refused, KeyError, pa.ArrowException) as error:
        raise Refused(
            f"nobody can say whether {version} predicts as recorded, so no alias was moved: {error}. "
            "`dvc pull` may bring back the test rows and what was predicted of them"
        ) from None
    again = clean_process.predict_in_clean_process(reader, version, said["text"].tolist())
    return agreement(version, said, again, made["params"]["register"]["tolerance"])


def agreement(version: versions.Version, said: pd.DataFrame, again: pd.DataFrame, tolerance: float) -> str:
    """In words how near `again` came to what was `said`. Raises Refused if it is further away than `tolerance`."""
    distance = largest_distance(said, again)
    if not distance <= tolerance:  # a confidence that is no number is no agreement either
        reason = f"{version} says something else once reloaded: confidence off by {distance:.2g}, or another label"
        raise Refused(f"{reason}; allowed is {tolerance:.2g}. No alias was moved")
    return f"{len(said)} test rows, confidence off by {distance:.2g} at most"


def largest_distance(said: pd.DataFrame, again: pd.DataFrame) -> float:
    """The largest difference in confidence; 1 if any label differs."""
    if said["predicted"].tolist() != again["label"].tolist():
        return 1.0
    return float(np.abs(said["confidence"].to_numpy() - again["confidence"].to_numpy()).max())
