import numpy as np
import pandas as pd

from retune.serving import sketches
from tasks.monitor.moved import most_moved
from tasks.monitor.windows import Window

draw = np.random.default_rng(2)


def window(topic=0, texts=60, with_sketches=True):
    vectors = draw.standard_normal((texts, 64)) / 8
    vectors[:topic] += 1
    rows = {
        "request_id": [f"r{place}" for place in range(texts)],
        "position": 0,
        "text": [f"text {place}" for place in range(texts)],
        "confidence": np.linspace(0.5, 1, texts),
        "sketch": [sketches.as_bytes(vector) if with_sketches else None for vector in vectors],
    }
    return Window(0.0, 1.0, pd.DataFrame(rows))


def test_a_new_topic_is_what_has_moved_most():
    keys = most_moved(window(), window(topic=6), 6)
    assert {request for request, _ in keys} == {f"r{place}" for place in range(6)}


def test_a_new_text_that_comes_often_has_moved_most_and_is_asked_once():
    later = window()
    often = [sketches.as_bytes(np.ones(64))] * 20
    later.rows["sketch"] = [*later.rows["sketch"][:40], *often]
    later.rows.loc[40:, "text"] = "where is my drone"
    assert most_moved(window(), later, 3)[0] == ("r40", 0)
    assert (
        len({request for request, _ in most_moved(window(), later, 3)} & {f"r{place}" for place in range(40, 60)}) == 1
    )


def test_without_vectors_the_least_sure_come_first_and_a_text_comes_once():
    later = window(with_sketches=False)
    later.rows.loc[1, "text"] = "text 0"
    assert most_moved(window(), later, 3) == [("r0", 0), ("r2", 0), ("r3", 0)]


def test_a_text_that_is_not_kept_is_left_out():
    later = window()
    later.rows["text"] = None
    assert most_moved(window(), later, 3) == []
