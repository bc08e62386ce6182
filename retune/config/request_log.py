"""The section `serve.log` of params.yaml."""

from typing import Annotated, Literal

from retune.config.types import Count, about, section

KeptText = Literal["redacted", "hashed", "full", "none"]
SERVE_LOG = about("What is kept of requests, beside the version, label, confidence and time of each text.")


@section
class ServeLog:
    text: Annotated[
        KeptText,
        about(
            "What is kept of a text. redacted: the text without personal data, by curate.pii; hashed: a hash of it, by "
            "which `retune forget` finds it; full: the text as it came; none: nothing. Unknown words and languages are "
            "watched only where there is a text."
        ),
    ]
    days: Annotated[Count, about("Days for which a row is kept; older ones are deleted.", "7 to 90")]
    queue: Annotated[
        Count,
        about(
            "Texts that may wait to be written. Where the database is away for longer than they last, further ones are "
            "dropped and counted; answers never wait for the log.",
            "1000 to 100000",
        ),
    ]
