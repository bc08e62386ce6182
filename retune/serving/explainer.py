"""Why a version answered so: the words that carried the label, and the rows nearest to the text among those it learned.

The nearest rows are found by the vectors that the version keeps (`retune.models.row_vectors`), by its frozen base: rows
that the base finds alike, as training began from it. Their texts come from the recorded splits, redacted as they are
stored there.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from retune.data import suppression
from retune.errors import Refused
from retune.lineage import record
from retune.lineage.record import Record
from retune.models import classifier, explanation, row_vectors
from retune.registry import versions
from retune.serving.answers import ServedVersion
from retune.system import dvc_store

NEIGHBOURS = 5
LEARNED = ("train", "val")


@dataclass(frozen=True)
class Neighbour:
    id: str
    similarity: float  # cosine, 1 for the same text
    source: str | None  # this and the next two: None where the store has lost the row
    label: str | None
    text: str | None


@dataclass(frozen=True)
class Explanation:
    """Of one text. `missing` says why there is no neighbour, or why some are not shown; empty if all are."""

    words: list[explanation.WordWeight]
    neighbours: list[Neighbour]
    missing: str


class Explainer:
    """Explains the answers of one version; loads what that takes once."""

    def __init__(self, model: object, folder: Path, version_record: Record) -> None:
        """Raises Refused for a model that writes: it has no label, and keeps no vectors."""
        if not isinstance(model, classifier.Classifier):
            raise Refused(
                "--explain asks which words and rows carried a label, and this model writes texts: it has no label, "
                "and a version of it keeps no vectors of its rows"
            )
        self._model, self._rows, self._record = model, row_vectors.read(folder), version_record
        self._base = classifier.load_probe(folder) if self._rows and self._rows.ids else None

    def explain(self, text: str, label: str) -> Explanation:
        words = explanation.of_classifier(self._model, text, label)
        if self._rows is None or self._base is None:
            return Explanation(
                words, [], "this version keeps no vectors of its rows: train.stored_vectors says how many"
            )
        nearest = row_vectors.nearest(self._rows, self._base.embed([text])[0].numpy(), 4 * NEIGHBOURS)
        names = pd.Series([name for name, _ in nearest], dtype="str")
        is_suppressed = suppression.contains(suppression.read(), names).tolist()
        chosen = [pair for pair, forget in zip(nearest, is_suppressed, strict=True) if not forget][:NEIGHBOURS]
        facts = _facts(self._record, [name for name, _ in chosen])
        neighbours = [Neighbour(name, similarity, *facts.get(name, (None, None, None))) for name, similarity in chosen]
        return Explanation(words, neighbours, _missing(sum(is_suppressed), neighbours))


def of_version(model: object, served: ServedVersion) -> Explainer:
    """The Explainer of a version that is served: loads its frozen base. Raises Refused if its files changed since."""
    version = versions.find(served.name, version=int(served.version))
    folder = versions.model_folder(version)
    return Explainer(model, folder, record.read(versions.version_folder(version) / record.FILE))


def _facts(version_record: Record, ids: list[str]) -> dict[str, tuple[str, str, str]]:
    """id -> source, label and text, as the version's splits have them."""
    facts = {}
    for split in LEARNED:
        table = dvc_store.table(version_record["data"]["sides"][split]["md5"], ["id", "source", "label", "text"])
        if table is not None:
            rows = table.to_pandas()
            for row in rows[rows["id"].isin(ids)].to_dict("records"):
                facts[row["id"]] = (row["source"], row["label"], row["text"])
    return facts


def _missing(suppressed_rows: int, neighbours: list[Neighbour]) -> str:
    without_text = sum(neighbour.text is None for neighbour in neighbours)
    near = "1 near row is" if suppressed_rows == 1 else f"{suppressed_rows} near rows are"
    parts = [f"{near} forgotten and not shown"] if suppressed_rows else []
    if without_text:
        parts.append(f"the DVC store has lost the text of {without_text} rows: `dvc pull` may bring it back")
    return "; ".join(parts)
