"""The section `serve.writing` of params.yaml."""

from typing import Annotated, Literal

from retune.config.sources import Address
from retune.config.types import Count, Positive, Text, Variable, about, section

WRITING = about("How versions that write answer: in the process, or behind a server that speaks OpenAI's API.")


@section
class UpstreamServer:
    url: Annotated[Address, about("Address of a server that speaks OpenAI's API, up to and with /v1.")]
    models: Annotated[
        dict[str, Text],
        about("What that server calls a model: the version that it is, NAME@ALIAS or NAME/VERSION."),
    ]
    prompts: Annotated[
        Literal["tokens", "messages"],
        about(
            "What is sent. tokens: the prompt as the version's own template renders it, to /completions (vLLM); "
            "messages: the messages, to /chat/completions, where the server's template must be the version's."
        ),
    ]
    key_env: Annotated[
        Variable | None, about("Environment variable that holds the API key. null: the server asks for none.")
    ]
    connect_seconds: Annotated[
        Positive, about("Longest time to connect, in seconds; the answer may take until the deadline.", "1 to 5")
    ]
    attempts: Annotated[
        Count,
        about("Attempts for a request of which nothing came back yet: no connection, or a busy server.", "1 to 3"),
    ]
    requests: Annotated[
        Count,
        about(
            "Requests of a version that may be under way; one beyond is refused with 503 and Retry-After.", "32 to 512"
        ),
    ]


@section
class ServeWriting:
    batch_texts: Annotated[Count, about("Texts that the process writes at once, of one version.", "4 to 32")]
    queue_texts: Annotated[
        Count, about("Texts that may wait; a request beyond is refused with 503 and Retry-After.", "8 to 256")
    ]
    deadline_seconds: Annotated[
        Positive, about("Longest time for a text to be written, in seconds; one that takes longer gets 504.")
    ]
    upstreams: Annotated[
        list[UpstreamServer],
        about("Servers that hold versions. What none of them holds is loaded into the process."),
    ]
