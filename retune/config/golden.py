"""The golden cases of an evaluation: texts whose answer must never be wrong."""

from typing import Annotated

from pydantic import Field

from retune.config.types import about, section


@section
class Golden:
    path: Annotated[
        str, about("CSV file of golden cases, within the project; `retune golden add` writes it. Empty: none.")
    ]
    sha256: Annotated[
        str,
        Field(pattern=r"^([0-9a-f]{64})?$"),
        about("SHA-256 of that file, so that no case comes or goes unnoticed; `retune golden add` writes it."),
    ]


GOLDEN = about("Cases that the model must never get wrong: the gate refuses a candidate that fails one.")
