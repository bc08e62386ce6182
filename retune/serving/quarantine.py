"""Where feedback waits for reviewers: checked against the log of requests, without personal data, and on disk."""

import time
from dataclasses import replace

from retune.serving import feedback, kept_text, request_log, served_rows
from retune.serving.database import Engine
from retune.serving.feedback import Feedback
from retune.serving.kept_text import TextPolicy


class Quarantine:
    def __init__(self, engine: Engine, per_hour: int, policy: TextPolicy) -> None:
        """per_hour: pieces of one person. policy: what may be kept of words."""
        self.engine, self._per_hour, self._policy = engine, per_hour, policy

    def holds_answer(self, request_id: str, position: int) -> bool:
        """Whether somebody got this answer, as far as the log has been written."""
        rows = served_rows.of_request(self.engine, request_id)
        return any(row["position"] == position and not row["error"] for row in rows)

    def take(self, piece: Feedback) -> tuple[Feedback, bool]:
        """The piece as it is kept, and whether it is new; on disk in any case. piece.person: as it was given.

        Raises Refused if the person has said too much in an hour.
        """
        person = kept_text.subject_hash(piece.person, request_log.secret_of(self.engine)) or ""
        note = piece.note and self._policy.text(piece.note)
        label = piece.label and (self._policy.text(piece.label) or piece.label)  # stays, whatever is kept of texts
        piece = replace(piece, person=person, time=time.time(), label=label, note=note)
        return piece, feedback.add(self.engine, piece, self._per_hour)
