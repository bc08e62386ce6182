"""The sections below `evaluate` that ask more of a model than its scores."""

from typing import Annotated, Literal

from retune.config.types import AbsolutePath, Count, Resamples, Sha256, about, section

Kind = Literal["typos", "case", "spaces", "punctuation", "diacritics", "greeting", "quoted_reply", "emoji"]


@section
class SliceSearch:
    rows: Annotated[Count, about("Test rows to search, drawn by the hash of their ids.", "1000 to 20000")]
    min_rows: Annotated[Count, about("Smallest number of rows of a slice.", "20 to 100")]
    permutations: Annotated[
        Resamples,
        about("Permutations of the rows, which say how bad the worst of all slices is by chance.", "500 to 5000"),
    ]


SLICE_SEARCH = about(
    "The parts of the test rows on which the model is surely worse than on the rest: by a value of any column, the "
    "source, the length and the month, or by two of them. At most the share 1 - evaluate.confidence of runs raises a "
    "false alarm."
)


@section
class Paraphrases:
    path: Annotated[
        AbsolutePath, about("Absolute path of a CSV file with the columns paraphrase, and id or text of the test row.")
    ]
    sha256: Annotated[Sha256, about("SHA-256 of the file, so that a changed file is noticed.")]


@section
class Robustness:
    rows: Annotated[Count, about("Test rows whose texts are changed, drawn by the hash of their ids.", "50 to 500")]
    kinds: Annotated[list[Kind], about("The changes, each of which keeps the meaning. An empty list makes none.")]
    paraphrases: Annotated[list[Paraphrases], about("Files of test rows in other words.")]


ROBUSTNESS = about("The same test rows with typing errors and the like, which change no meaning: what they cost.")


@section
class Memorisation:
    rows: Annotated[
        Count, about("Rows that the model learned from, and test rows, drawn by the hash of their ids.", "100 to 1000")
    ]


MEMORISATION = about("Whether the model gives away which rows it learned from.")
