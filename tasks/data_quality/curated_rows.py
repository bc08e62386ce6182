"""The rows that curation keeps, and their vectors: what the questions about the data's quality begin with."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch

from retune.config import params
from retune.config.classification import Train
from retune.config.params import Classify, Params
from retune.data import row_table
from retune.errors import Refused, WrongUse
from retune.models import base_model, text_vectors
from retune.preflight import base_check
from retune.system import dvc_files, dvc_pipeline
from retune.system.files import file_md5

CURATED = Path("data/curated/rows.parquet")
REMEDY = "`dvc repro curate` makes it or says what is wrong, and trains nothing"


def of_labels(config: Params) -> Classify:
    """Raises WrongUse for a task without labels."""
    if not isinstance(config, Classify):
        raise WrongUse(f"task {config.task} has answers, not labels: this is a question about task classify")
    return config


def read(even_older: bool = False) -> pd.DataFrame:
    """Raises Refused where the rows are missing, or not of the records, verdicts and parameters that are here now.

    even_older: the rows of the last curation do, whatever changed since.
    """
    entry = dvc_pipeline.lock().get("curate")
    if not entry or not CURATED.is_file():
        if not (Path("data/raw").is_dir() or Path("data/raw.dvc").is_file()):
            raise Refused("there are no records yet", remedy="`retune ingest FILE` brings them in")
        raise Refused(f"there is no {CURATED}: nothing was curated yet, or the last time failed", remedy=REMEDY)
    if file_md5(CURATED) != dvc_pipeline.hashes_of({"curate": entry}).get(str(CURATED)):
        raise Refused(f"{CURATED} has other bytes than dvc.lock names", remedy="`dvc checkout` brings them back")
    if not even_older and (names := changes()):
        raise Refused(f"{CURATED} is older than {', '.join(names)}", remedy=REMEDY)
    return row_table.read(CURATED)


def changes() -> list[str]:
    """What curation read in another state than it has now, of records, lists and parameters."""
    entry: dict[str, Any] = dvc_pipeline.lock().get("curate", {"deps": []})
    values = params.read()
    deps = {dep["path"]: dep["md5"] for dep in entry["deps"] if not dep["path"].endswith(".py")}
    names = [path for path, md5 in deps.items() if _md5_now(path) != md5]
    read_values = entry.get("params", {}).get("params.yaml", {})
    return names + [f"{name} in params.yaml" for name, value in read_values.items() if params.at(values, name) != value]


def _md5_now(path: str) -> str | None:
    pointer, file = Path(f"{path}.dvc"), Path(path)
    if pointer.is_file():
        return dvc_files.pointer_md5(pointer)
    return file_md5(file) if file.is_file() else None


def embed(texts: list[str], config: Train) -> torch.Tensor:
    """The vectors of the frozen base, of length 1: [texts, width], as the probe of training sees them."""
    base_check.require_positions(base_model.find(config.base.name), config)
    return text_vectors.embed(texts, config.device, config.base, config.max_tokens, 2 * config.batch_size)
