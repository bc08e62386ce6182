import numpy as np
import pytest

from retune.evaluation import answer_fit

WIDTH = 12


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def near(corners, seed, noise=0.05):
    return unit(np.eye(WIDTH)[corners] + np.random.default_rng(seed).normal(size=(len(corners), WIDTH)) * noise)


TOPICS = np.arange(300) % 6
PROMPTS = near(TOPICS, 1)
STYLED = unit(near(TOPICS, 2) + 2 * np.eye(WIDTH)[11])  # answers of one house style, far from their prompts


@pytest.mark.parametrize("answers", [near(TOPICS, 2), STYLED])
def test_answers_of_another_topic_are_the_most_doubtful(answers):
    wrong = np.arange(0, 300, 20)
    answers = answers.copy()
    answers[wrong] = answers[wrong + 1]
    doubts = answer_fit.doubts(PROMPTS, answers)
    assert set(np.argsort(-doubts)[: len(wrong)]) == {*wrong}
    assert doubts[wrong].min() > 4 and abs(np.median(doubts)) < 1e-9


def test_answers_that_are_all_alike_are_in_no_doubt():
    answers = np.tile(np.eye(WIDTH)[0], (300, 1))
    assert np.isfinite(answer_fit.doubts(PROMPTS, answers)).all()
    assert not answer_fit.doubts(PROMPTS[[0] * 30], answers[:30]).any()


def test_the_pool_of_many_rows_changes_little(monkeypatch):
    whole = answer_fit.doubts(PROMPTS, STYLED)
    monkeypatch.setattr(answer_fit, "POOL", 120)
    monkeypatch.setattr(answer_fit, "CHUNK", 7)
    assert np.corrcoef(whole, answer_fit.doubts(PROMPTS, STYLED))[0, 1] > 0.95


def test_preferences_that_cross_are_a_pair_once_and_others_none():
    good, bad = near(TOPICS + 6, 3)[:12], near(TOPICS, 4)[:12]
    chosen, rejected = good.copy(), bad.copy()
    chosen[0], rejected[0] = bad[0], good[0]  # row 0 prefers what row 6, of the same topic, rejects
    pairs = answer_fit.contradictions(PROMPTS[:12], chosen, rejected)
    assert [(one, other) for one, other, _ in pairs] == [(0, 6)] and 0.8 < pairs[0][2] <= 1
    assert answer_fit.contradictions(PROMPTS[:12], good, bad) == []
    assert answer_fit.contradictions(PROMPTS[:12], good, good) == []
