"""What goes into the request log: a row for each text of a response, and of each attempt that gave none."""

import time
from collections.abc import Sequence

from retune.serving.attempts import Attempt
from retune.serving.request_log import LoggedAnswer
from retune.serving.router import Routed


def response(request_id: str, subject: str | None, texts: Sequence[str], routed: Routed, seconds: float) -> Attempt:
    """A response in the form of an attempt."""
    answers = tuple(routed.answers)
    return Attempt(
        request_id, subject or "", tuple(texts), routed.arm, routed.served, routed.reason, answers, "", seconds
    )


def rows(attempt: Attempt) -> list[LoggedAnswer]:
    """One a text."""
    now, served = time.time(), attempt.served
    answers = attempt.answers or (None,) * len(attempt.texts)
    return [
        LoggedAnswer(
            request_id=attempt.request_id,
            position=position,
            time=now,
            model=served.name,
            version=served.version,
            seal=served.seal,
            arm=attempt.arm,
            reason=attempt.reason,
            subject=attempt.subject,
            text=text,
            vector=answer.vector if answer else None,
            label=answer.label if answer else "",
            writes=served.writes,
            confidence=answer.confidence if answer else None,
            route=answer.route if answer else "",
            latency_ms=attempt.seconds * 1000,
            error=attempt.error,
        )
        for position, (text, answer) in enumerate(zip(attempt.texts, answers, strict=True))
    ]
