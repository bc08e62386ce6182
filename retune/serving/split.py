"""Which arm a subject belongs to: the same one for the whole rollout, until its share reaches the subject.

The HMAC of the subject under the salt of the rollout is a number from 0 to 1, and the challenger has those below its
share. So raising the share moves subjects to the challenger and none back, and another rollout, with another salt,
begins with other subjects.
"""

import hashlib
import hmac
from dataclasses import dataclass

BITS = 53  # of the HMAC: as many as a float holds


@dataclass(frozen=True)
class Split:
    """How a rollout divides the requests at one moment; every server reads the same from the table of rollouts."""

    rollout: str  # its id
    salt: str
    percent: float  # of the subjects, that the challenger answers
    shadow: bool  # the challenger also answers what the champion answers, for nobody

    @property
    def step(self) -> str:
        return "shadow" if self.shadow else f"{self.percent:g}%"

    def takes(self, subject: str) -> bool:
        """Whether the challenger answers this subject."""
        return place(self.salt, subject) * 100 < self.percent


def place(salt: str, subject: str) -> float:
    """From 0 up to 1, uniform over subjects."""
    digest = hmac.digest(salt.encode(), subject.encode("utf-8", "surrogatepass"), hashlib.sha256)
    return (int.from_bytes(digest[:8]) >> (64 - BITS)) / float(2**BITS)
