"""The sections below `evaluate` that ask more of a model than its scores."""

from typing import Annotated

from retune.config.types import Count, Resamples, about, section


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
