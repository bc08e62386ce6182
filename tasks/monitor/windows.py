"""What a version answered, window by window, as samples that can be compared.

The reference is what the version answered in its first `monitor.reference_hours`, not its test rows: those are without
copies and drawn from other days, so that they would differ from every window for good. How well test rows and served
texts agree, the estimate of accuracy says.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from retune.config.serving import Monitor
from retune.data import languages
from retune.data.drift import WORD
from retune.lineage import history
from retune.lineage.entry_facts import Fact
from retune.monitoring.battery import Sample
from retune.monitoring.shift_tests import LEAST
from retune.serving import served_rows, sketches
from retune.serving.database import Engine
from retune.system import dvc_pipeline, dvc_store, git

HOUR = 3600.0
MOST = 2000  # texts of a window that are compared, evenly spaced
LAST = 8  # windows that are compared
PREDICTIONS = "models/reports/predictions.parquet"
NO_TEXT = "no text is kept: serve.log.text says what is"
COLUMNS = (
    "request_id",
    "position",
    "time",
    "version",
    "arm",
    "route",
    "error",
    "label",
    "confidence",
    "length",
    "text",
    "sketch",
    "latency_ms",
)


@dataclass(frozen=True)
class VersionFacts:
    """What a version carries that windows are compared with."""

    vocabulary: frozenset[str]  # of its training rows; empty: their bytes are gone
    right: np.ndarray  # [test rows] of bool; empty: gone, or the version writes
    confidence: np.ndarray  # [test rows]


@dataclass(frozen=True)
class Window:
    """What a version answered to people from `start` up to `end`, in seconds since 1970."""

    start: float
    end: float
    rows: pd.DataFrame  # COLUMNS

    @cached_property
    def languages(self) -> list[str]:
        """Of each text that is kept; empty where it is not sure."""
        return languages.of_texts(self.rows["text"].dropna())


def version_facts(name: str, version: str) -> VersionFacts:
    """Read from the history and the DVC store: it needs no registry."""
    nothing = np.array([])
    entry = history.read(name).registered(int(version)) if version.isdecimal() else None
    if not entry:
        return VersionFacts(frozenset(), nothing.astype(bool), nothing)
    train = dvc_store.table(entry.facts.get(Fact.TRAIN, ""), ["text"])
    texts = train["text"].to_pylist() if train else []
    vocabulary = frozenset(word.lower() for text in texts for word in WORD.findall(text))
    lock = git.objects([f"{entry.commit}:dvc.lock"])[0]
    md5 = dvc_pipeline.md5_in(lock.content, PREDICTIONS) if lock else None
    table = dvc_store.table(md5, None) if md5 else None
    if not table or not {"label", "predicted", "confidence"} <= set(table.column_names):
        return VersionFacts(vocabulary, nothing.astype(bool), nothing)
    frame = table.to_pandas()
    return VersionFacts(
        vocabulary, (frame["label"] == frame["predicted"]).to_numpy(), frame["confidence"].to_numpy(dtype=float)
    )


def windows(engine: Engine, name: str, version: str, config: Monitor, now: float) -> tuple[Window, list[Window]]:
    """The reference of a version, and its last windows that are over; none while the reference is not full.

    A reference with too few texts goes on, by whole windows.
    """
    first = served_rows.first_of_version(engine, name, version) or now
    step, end = config.window_hours * HOUR, first + config.reference_hours * HOUR
    reference = _window(engine, name, version, first, end)
    while len(reference.rows) < LEAST and end + step <= now:
        end += step
        reference = _window(engine, name, version, first, end)
    if end > now or len(reference.rows) < LEAST:
        return reference, []
    count = int((now - end) // step)
    starts = [end + number * step for number in range(max(count - LAST, 0), count)]
    return reference, [_window(engine, name, version, start, start + step) for start in starts]


def _window(engine: Engine, name: str, version: str, start: float, end: float) -> Window:
    rows = served_rows.window(engine, name, start, end, COLUMNS, MOST, version)
    return Window(start, end, rows[(rows["arm"] != served_rows.SHADOW) & (rows["error"] == "")].reset_index(drop=True))


def sample(window: Window, facts: VersionFacts, main_language: str) -> Sample:
    rows = window.rows
    texts = rows["text"].dropna()
    unknown = [any(word.lower() not in facts.vocabulary for word in WORD.findall(text)) for text in texts]
    lacks = {}
    if len(rows) >= LEAST and texts.empty:
        lacks = {"unknown words": NO_TEXT, "languages": NO_TEXT}
    if not facts.vocabulary:
        lacks, unknown = {**lacks, "unknown words": "the bytes of the training rows are gone: `dvc pull`"}, []
    return Sample(
        rows["label"].tolist(),
        rows["confidence"].to_numpy(dtype=float),
        rows["length"].to_numpy(dtype=float),
        sketches.from_bytes(rows["sketch"].dropna().tolist()),
        np.array(unknown, dtype=bool),
        np.array([code not in ("", main_language) for code in window.languages], dtype=bool),
        lacks,
    )


def main_language(reference: Window) -> str:
    codes = Counter(code for code in reference.languages if code)
    return codes.most_common(1)[0][0] if codes else ""
