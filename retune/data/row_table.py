"""The row: one example of text and label, how a table of them is read, and how it is written.

A table of rows is a pandas DataFrame with the columns of `COLUMNS`, all of them strings:

    id      the name that the row keeps for life
    text    what was said
    label   the right answer
    group   rows that must not be parted (one customer); empty: the row stands alone
    source  where the row came from
    given   the side that the data itself puts the row on: train, val, test, or empty

Where a model is to write (task instruct or prefer), `text` is the prompt, as `retune.data.chat_formats` writes
messages, and `label` the answer; prefer has one column more:

    rejected  the worse answer
"""

import re
import unicodedata
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from retune.system import failpoints
from retune.system.files import replace_whole

COLUMNS = ("id", "text", "label", "group", "source", "given")
SPLITS = ("train", "val", "test")
REJECTED = "rejected"
JOINERS = "\u200c\u200d"  # hold emoji, Persian and Hindi words together; the only format characters kept
LOOSE_JOINER = re.compile(f"(?<!\\S)[{JOINERS}]+|[{JOINERS}]+(?!\\S)")


def read(path: Path) -> pd.DataFrame:
    """Read one Parquet file, or every Parquet file of a folder in the order of their names."""
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        return pd.DataFrame({name: pd.Series(dtype="str") for name in COLUMNS})
    return pd.concat([pq.read_table(file).to_pandas() for file in files], ignore_index=True)


def write(rows: pd.DataFrame, path: Path) -> None:
    """Write `rows` whole or not at all; the same rows always give the same bytes."""
    table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(None)
    with replace_whole(path) as unfinished:
        pq.write_table(table, unfinished, compression="zstd")
        failpoints.point("rows:unfinished")


def clean(text: str) -> str:
    """Unicode NFC, white space in single spaces, no control or format characters but joiners inside words."""
    if not text.isprintable():  # most texts are, and need no look at each character
        text = "".join(filter(_visible, text))
        text = " ".join(word.strip(JOINERS) for word in text.split())
    return " ".join(unicodedata.normalize("NFC", text).split())


def clean_lines(text: str) -> str:
    """The same for texts whose shape is part of what they say: line breaks, indents and inner spaces stay.

    Code and lists live on them. White space goes at either end of the text and at the end of a line.
    """
    lines = [LOOSE_JOINER.sub("", "".join(map(_on_a_line, filter(_visible, line)))) for line in text.splitlines()]
    return "\n".join(unicodedata.normalize("NFC", line).rstrip() for line in lines).strip()


def _on_a_line(character: str) -> str:
    return " " if character.isspace() and character != "\t" and not character.isprintable() else character


def _visible(character: str) -> bool:
    return character.isspace() or character in JOINERS or unicodedata.category(character) not in ("Cc", "Cf")


def same_text(text: pd.Series) -> pd.Series:
    """The key under which two texts count as one: their words, whatever the case, spaces and punctuation.

    A text of punctuation alone is its own key. Banking77's known 25 test texts in train are equal by this key.
    """
    folded = text.str.normalize("NFKC").str.casefold().str.strip()
    words = folded.str.replace(r"[\W_]+", " ", regex=True).str.strip()
    return words.where(words != "", folded)
