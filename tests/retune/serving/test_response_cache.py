from retune.serving.answers import Answer
from retune.serving.response_cache import ResponseCache

ANSWER = Answer("bills", 0.9, "auto")


def test_the_inputs_asked_for_last_are_kept():
    cache = ResponseCache(2)
    cache.put("a", ANSWER)
    cache.put((1, 2), ANSWER)
    assert cache.get("a") is ANSWER
    cache.put("c", ANSWER)
    assert (cache.get((1, 2)), cache.get("a"), len(cache)) == (None, ANSWER, 2)


def test_a_cache_of_size_0_keeps_nothing():
    cache = ResponseCache(0)
    cache.put("a", ANSWER)
    assert cache.get("a") is None
    assert (len(cache), cache.hits) == (0, 0)
