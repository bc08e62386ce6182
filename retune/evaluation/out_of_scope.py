"""Texts that belong to none of the labels: how many of them nobody would read, and how well confidence sees them.

They are the rows of the label `__other__`, which curation keeps apart, and those of the file that params name.

A promised precision holds for rows like the test rows. A text of no label at all is wrong whatever it is called, so a
file of such texts shows what the promise does not cover. The score that tells them apart is the confidence itself, the
largest softmax probability (Hendrycks & Gimpel 2017), with which the route is decided: `bench/out_of_scope.py` measures
it beside energy and the Mahalanobis distance.
"""

import csv
import io
from typing import Any

import numpy as np

from retune.config.classification import OutOfScope
from retune.errors import Refused
from retune.system import named_file


def read(config: OutOfScope) -> list[str]:
    """The texts of the file that params.yaml names; none for an empty path.

    Raises WrongUse for a file that is missing or has another hash, Refused for one without texts.
    """
    if not config.path:
        return []
    content = named_file.read(config.path, config.sha256, "evaluate.automation.out_of_scope")
    name = f"evaluate.automation.out_of_scope.path {config.path!r}"
    try:
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refused(f"{name} is not a CSV file in UTF-8: {error}") from None
    if not rows or "text" not in rows[0]:
        raise Refused(f"{name} has no row under a column `text`: name that column in its first line")
    return [text for row in rows if (text := row["text"] or "").strip()]


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    """The probability that a row of a label scores higher than one of none; ties count half (Mann & Whitney 1947)."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([inside, outside]))
    return float((ranks[: len(inside)].sum() / len(inside) - (len(inside) + 1) / 2) / len(outside))


def headline(document: dict[str, Any] | None) -> dict[str, float]:
    """Flat numbers of the part of automation.json, for DVC and MLflow."""
    if not document:
        return {}
    share = document["share"]
    return {
        "out_of_scope_automated": share["value"],
        "out_of_scope_automated_low": share["low"],
        "out_of_scope_automated_high": share["high"],
        "out_of_scope_auroc": document["auroc"],
    }
