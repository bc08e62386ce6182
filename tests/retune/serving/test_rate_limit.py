from retune.serving.rate_limit import RateLimit


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_an_allowance_may_be_spent_at_once_and_comes_back_evenly():
    clock = Clock()
    limit = RateLimit(3, clock)
    assert [limit.wait("a") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert round(limit.wait("a"), 6) == 20.0
    assert limit.wait("b") == 0.0
    clock.now += 19.0
    assert round(limit.wait("a"), 6) == 1.0
    clock.now += 1.0
    assert limit.wait("a") == 0.0
    assert limit.wait("a") > 0


def test_without_a_limit_nobody_waits():
    limit = RateLimit(0, Clock())
    assert not any(limit.wait("a") for _ in range(1000))


def test_callers_who_have_not_asked_for_long_are_forgotten(monkeypatch):
    monkeypatch.setattr("retune.serving.rate_limit.CALLERS", 10)
    clock = Clock()
    limit = RateLimit(60, clock)
    for caller in range(30):
        clock.now += 2.0
        limit.wait(str(caller))
    assert len(limit._whole_at) <= 10
