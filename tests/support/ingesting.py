"""What tests of ingest share: a source file, what was brought in, and a refusal that changes nothing."""

from pathlib import Path

import pytest

from retune.data import row_table
from tasks import ingest as ingest_module
from tasks.ingest import Columns, IngestResult, Origin, Rules
from tests.support.environment import ROOT

RAW = Path("data/raw")
BITEXT = ROOT.parent / "shared/data/bitext_support_sft/Bitext_Sample_Customer_Support_Training_Dataset.csv"
ID = Columns(id="id")


def ingest(source, raw, columns, task="classify", max_unreadable_share=0.0, **more) -> IngestResult:
    return ingest_module.ingest(source, raw, columns, Rules(task, max_unreadable_share), **more)


def put(text, name="tickets.csv"):
    Path(name).write_bytes(text.encode() if isinstance(text, str) else text)
    return name


def take(text, columns=Columns(), name="tickets.csv", licence=None, collected=None, **more) -> IngestResult:  # noqa: B008
    return ingest(put(text, name), RAW, columns, origin=Origin(None, licence, collected), **more)


def rows():
    return row_table.read(RAW).to_dict("records")


def column(name):
    return [row[name] for row in rows()]


def bytes_of_raw():
    return {path.name: path.read_bytes() for path in RAW.glob("*")} if RAW.exists() else None


def refused(error, text, *phrases, columns=Columns(), name="tickets.csv"):  # noqa: B008
    """The source is turned down in these words, and data/raw stays as it was."""
    before = bytes_of_raw()
    with pytest.raises(error) as caught:
        take(text, columns, name)
    assert type(caught.value) is error
    for words in phrases:
        assert words in str(caught.value)
    assert bytes_of_raw() == before
