"""The sections below `evaluate` that ask more of a model than its scores."""

from typing import Annotated, Literal

from pydantic import Field

from retune.config.types import AbsolutePath, Confidence, Count, Resamples, Sha256, about, section

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


@section
class VerbatimMemorisation:
    rows: Annotated[
        Count, about("Rows that the model learned from, and test rows, drawn by the hash of their ids.", "100 to 1000")
    ]
    min_tokens: Annotated[
        Count, about("Answers of fewer tokens are left out: anyone may write them word for word.", "10 to 50")
    ]


VERBATIM = about("Whether the model gives back word for word the answers that it learned from.")


@section
class GenerationAutomation:
    measure: Annotated[
        Literal["exact", "schema", "judge"] | None,
        about(
            "Which answers are right. exact: those with the words of the reference; schema: those that are JSON of "
            "evaluate.json_schema; judge: those that evaluate.judge finds at least as good as the reference in both "
            "orders. null: a person reads everything."
        ),
    ]
    precision: Annotated[
        float,
        Field(ge=0.5, lt=1),
        about("Promised share of right answers among those that nobody reads.", "0.8 to 0.98"),
    ]
    confidence: Annotated[
        Confidence, about("Probability with which the promise holds, over the draw of the rows.", "0.9 to 0.99")
    ]
    rows: Annotated[
        Count,
        about(
            "Validation rows to choose the threshold on, drawn by the hash of their ids; the model answers each, and "
            "with measure judge each costs two judgements.",
            "64 to 512",
        ),
    ]


GENERATION_AUTOMATION = about("What the model may send without a person, at a promised precision.")
