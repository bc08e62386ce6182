"""Answers of one version that are kept for inputs that come again.

An input is the text as it came, or the tokens that the network reads of it: two texts share an answer only where the
network could not tell them apart. Each version has a cache of its own, which goes with it.
"""

import threading
from collections import OrderedDict

from retune.serving.answers import Answer

Key = str | tuple[int, ...]


class ResponseCache:
    """The `size` inputs that were asked for last, and their answers. Threads may share it."""

    def __init__(self, size: int) -> None:
        self._size, self._lock = size, threading.Lock()
        self._answers: OrderedDict[Key, Answer] = OrderedDict()
        self.hits = self.misses = 0  # of texts

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: Key) -> Answer | None:
        with self._lock:
            answer = self._answers.get(key)
            if answer is not None:
                self._answers.move_to_end(key)
                self.hits += 1
            return answer

    def put(self, key: Key, answer: Answer) -> None:
        with self._lock:
            self._answers[key] = answer
            self._answers.move_to_end(key)
            while len(self._answers) > self._size:
                self._answers.popitem(last=False)
