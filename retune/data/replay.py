"""General examples: what a model that writes is shown beside its records, so that it does not forget what it could.

They stand in files that params.yaml names, each with its sha256, in any of the formats that ingest reads, and are
nobody's records: no stage counts them among the rows, no side holds them, nobody is tested on them. What was kept of
them is data/curated/general.parquet, with the columns of a row: `id` is the file's name and the place in it, `source`
the file's name.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import pandas as pd

from retune.config import params
from retune.config.generation import InstructCurate
from retune.data import chat_formats, readers, row_table
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
    """Raises WrongUse for a file that is not there, Refused for one that is not the one that params.yaml means."""
    for file in files:
        try:
            sha256 = file_sha256(Path(file.path))
        except OSError as error:
            raise WrongUse(
                f"the general examples in {file.path} cannot be read: {error.strerror}. Bring the file back, or take "
                "it out of curate.replay"
            ) from None
        if sha256 != file.sha256:
            raise Refused(
                f"the general examples in {file.path} have sha256 {sha256}, not {file.sha256}: restore that file, or "
                "write the new hash into curate.replay if the change is meant"
            )


def files_of(config: params.Params) -> Sequence[File]:
    """The files that params.yaml names; none where the task has no place for them."""
    return config.curate.replay if isinstance(config.curate, InstructCurate) else []


def read(files: Sequence[File]) -> pd.DataFrame:
    """The examples of all files, as they came. Raises WrongUse or Refused for a file that is not as it should be."""
    check(files)
    return pd.concat([_no_rows(), *map(_rows, files)], ignore_index=True)


def _no_rows() -> pd.DataFrame:
    return pd.DataFrame({column: pd.Series(dtype="str") for column in row_table.COLUMNS})


def _rows(file: File) -> pd.DataFrame:
    table = readers.read(file.path)
    values = chat_formats.read(table, "instruct").values
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
