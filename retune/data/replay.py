"""Replay examples: general examples that a causal language model sees besides its records, against forgetting.

params.yaml names their files, each with its sha256, in any format that ingest reads. They are not records: no stage
counts them among the rows, no split holds them, and no model is tested on them. Curate writes those that it accepts to
data/curated/general.parquet, with the columns of a row: `id` is the file's name and the place in it, `source` the
file's name.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import pandas as pd

from retune.config import params
from retune.config.generation import InstructCurate
from retune.data import chat_formats, rejects, row_table
from retune.data.readers import source
from retune.errors import Refused, WrongUse
from retune.system.files import file_sha256


class File(Protocol):
    @property
    def path(self) -> str: ...
    @property
    def sha256(self) -> str: ...


def file_name(file: File) -> str:
    return Path(file.path).name


def check(files: Sequence[File]) -> None:
    """Raises WrongUse for a missing file, Refused for one with another hash than params.yaml names."""
    for file in files:
        try:
            sha256 = file_sha256(Path(file.path))
        except OSError as error:
            raise WrongUse(
                f"the general examples in {file.path} cannot be read: {error.strerror}. Restore the file, or remove "
                "it out of curate.replay"
            ) from None
        if sha256 != file.sha256:
            raise Refused(
                f"the general examples in {file.path} have sha256 {sha256}, not {file.sha256}: restore that file, or "
                "write the new hash into curate.replay if the change is intended"
            )


def files_of(config: params.Params) -> Sequence[File]:
    """The files that params.yaml names; empty for a task without replay."""
    return config.curate.replay if isinstance(config.curate, InstructCurate) else []


def read(files: Sequence[File]) -> pd.DataFrame:
    """The examples of all files, unchanged. Raises WrongUse or Refused as `check` does."""
    check(files)
    return pd.concat([_no_rows(), *map(_rows, files)], ignore_index=True)


def _no_rows() -> pd.DataFrame:
    return pd.DataFrame({column: pd.Series(dtype="str") for column in row_table.COLUMNS})


def _rows(file: File) -> pd.DataFrame:
    table = source.read(file.path)
    mapped = chat_formats.read(table, "instruct")
    unreadable = table.all_rejects(mapped.faults)
    rejects.refuse_too_many(table.name, unreadable, len(table.places) + len(table.rejects), 0.0)
    values = mapped.values
    ids = [f"{file_name(file)}:{place}" for place in table.places]
    rows = {
        "id": ids,
        "text": values["text"],
        "label": values["label"],
        "group": "",
        "source": file_name(file),
        "given": "",
    }
    return pd.DataFrame(rows, columns=[*row_table.COLUMNS]).astype("str")
