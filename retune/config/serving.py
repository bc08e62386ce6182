"""The sections of params.yaml of what serves and what comes after it. No stage reads them: a change trains nothing."""

from typing import Annotated

from retune.config.request_log import SERVE_LOG, ServeLog
from retune.config.types import Count, CountOrZero, NotNegative, Positive, Share, about, section
from retune.config.writing import WRITING, ServeWriting


@section
class Serve:
    batch_tokens: Annotated[
        Count,
        about(
            "Largest number of tokens, with padding, that an encoder reads at once; a longer text is read alone.",
            "256 to 4096 on a CPU",
        ),
    ]
    wait_ms: Annotated[
        NotNegative,
        about(
            "How long an idle encoder waits for further texts before it reads those it has, in milliseconds. While it "
            "is busy, texts gather without it.",
            "0 to 5",
        ),
    ]
    queue_texts: Annotated[
        Count,
        about(
            "Texts that may wait for a version; a request beyond is refused with 503 and Retry-After.", "100 to 2000"
        ),
    ]
    deadline_seconds: Annotated[
        Positive, about("Longest time for a request, in seconds; one without an answer by then gets 504.", "1 to 30")
    ]
    max_texts: Annotated[Count, about("Texts that one request may hold.", "16 to 256")]
    max_chars: Annotated[Count, about("Characters that a text may have; a longer one is refused, not cut.")]
    max_megabytes: Annotated[Positive, about("Largest body of a request, in megabytes.", "1 to 10")]
    requests_per_minute: Annotated[
        CountOrZero,
        about("Requests that an API key, or an address without one, may send in a minute; 0 allows any number."),
    ]
    cache_texts: Annotated[
        CountOrZero,
        about("Answers that are kept for texts that come again, by version; 0 keeps none.", "0 to 100000"),
    ]
    follow_seconds: Annotated[
        NotNegative,
        about(
            "How often a served alias is looked up, in seconds: where it names another version, that one is loaded and "
            "takes over. 0: what is loaded at the start stays.",
            "2 to 60",
        ),
    ]
    log: Annotated[ServeLog, SERVE_LOG]
    writing: Annotated[ServeWriting, WRITING]


@section
class Feedback:
    per_person_per_hour: Annotated[
        Count, about("Pieces of feedback that one person may give in an hour; further ones are refused with 429.")
    ]
    rows_per_person: Annotated[
        Count,
        about(
            "Rows that may be ingested in 30 days because reviewers took the label that one person gave; further ones "
            "wait, so that nobody alone moves a model.",
            "20 to 200",
        ),
    ]
    weekly_rows: Annotated[
        CountOrZero,
        about(
            "Answers that the scheduled monitor hands to reviewers each week, so that there is a figure for how right "
            "they are. 0: none.",
            "50 to 200",
        ),
    ]
    double_share: Annotated[
        Share, about("Of the rows of a sheet, those that two reviewers get, to see whether they agree.", "0.1 to 0.3")
    ]


@section
class Monitor:
    window_hours: Annotated[
        Positive,
        about(
            "Hours that are compared with the reference at once. Where weekends differ from weekdays, take a week.",
            "24 to 168",
        ),
    ]
    reference_hours: Annotated[
        Positive,
        about(
            "The reference: what a version answered in its first hours. Until they are over, nothing is compared.",
            "24 to 168",
        ),
    ]
    false_alarms: Annotated[
        Share, about("Share of the windows that may show a shift where there is none.", "0.001 to 0.05")
    ]
    cost_per_1000: Annotated[
        NotNegative,
        about("Cost of a thousand answered texts, in register.estimate.currency; 0 leaves it out."),
    ]
    review_rows: Annotated[
        CountOrZero,
        about("Texts that have moved most, which an alarm hands to reviewers; 0 opens no review.", "20 to 100"),
    ]
