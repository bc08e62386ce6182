"""What a server answers with, and what may answer: a version in this process, or one behind an upstream server."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from retune.errors import RetuneError


@dataclass(frozen=True)
class ServedVersion:
    name: str  # of the registered model
    version: str
    seal: str  # sha256 of the version's list of checksums
    writes: bool = False  # its labels are texts, which may hold what people said

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


@dataclass(frozen=True)
class Answer:
    label: str  # or the text that a model wrote
    confidence: float  # 0 to 1
    route: str  # auto | human
    vector: np.ndarray | None = field(default=None, compare=False, repr=False)  # [width], of the text, if there is one


class Answerer(Protocol):
    """A version that is ready to answer."""

    served: ServedVersion

    async def answer(self, texts: Sequence[str], deadline: float) -> list[Answer]:
        """One answer a text, in their order. deadline: on the clock of `asyncio`'s loop, in seconds.

        Raises Unanswered, and no other error.
        """
        ...


class Unanswered(RetuneError):
    """A request without an answer. Its subclasses say why, and with which HTTP status and word a client learns it."""

    status = 500
    kind = "failed"


class Overloaded(Unanswered):
    """The queue is full. retry_after: seconds."""

    status = 503
    kind = "overloaded"

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TooLate(Unanswered):
    """The deadline passed first."""

    status = 504
    kind = "deadline"


class Unavailable(Unanswered):
    """No version, or no upstream server, is there to answer."""

    status = 503
    kind = "unavailable"


class BadAnswer(Unanswered):
    """What came back is no answer: malformed, of another schema, or not a number."""

    status = 502
    kind = "bad_answer"


class Unfit(Unanswered):
    """The request itself cannot be answered by this version: no fault of the server's, and no other arm can do more."""

    status = 422
    kind = "unfit"
