import numpy as np
import pytest
import torch

from retune.config.classification import Probe
from retune.errors import Refused
from retune.evaluation import wrong_labels
from retune.evaluation.wrong_labels import Judgement

PROBE = Probe(c=10.0, max_iterations=200)
WORDS = ("parcel", "refund", "password", "invoice")


def clusters(labels=4, rows=160, spread=0.35, seed=3):
    """Rows of which each lies near the corner of its label, and says its word."""
    draw = np.random.default_rng(seed)
    truth = np.arange(rows) % labels
    vectors = np.eye(8)[truth] + draw.normal(size=(rows, 8)) * spread
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    texts = [f"about the {WORDS[label]} number {row}" for row, label in enumerate(truth)]
    return torch.tensor(vectors, dtype=torch.float32), texts, truth


def judge(vectors, texts, truth):
    return wrong_labels.judge(vectors, texts, truth, PROBE, 17, lambda _: None)


def test_flipped_labels_stand_first_and_the_suggestion_is_the_true_one():
    vectors, texts, truth = clusters(spread=0.2)
    changed = np.array([3, 50, 77, 120])
    flipped = truth.copy()
    flipped[changed] = (truth[changed] + 1) % 4
    judgement = judge(vectors, texts, flipped)
    first = np.argsort(-judgement.doubt, kind="stable")[:4]
    assert sorted(first) == changed.tolist()
    assert judgement.suggested[changed].tolist() == truth[changed].tolist()
    assert (judgement.doubt[changed] > 0.5).all() and (np.delete(judgement.doubt, changed) < 0.5).all()


def test_no_opinion_has_seen_the_label_that_it_judges():
    vectors, texts, truth = clusters(rows=40)
    flipped = truth.copy()
    flipped[0] = 1
    before, after = judge(vectors, texts, truth), judge(vectors, texts, flipped)
    shares = [wrong_labels.neighbours(vectors.numpy(), labels, 4)[0][0] for labels in (truth, flipped)]
    assert np.array_equal(*shares)
    assert before.suggested[0] != 0 and after.suggested[0] == 0


def test_the_same_rows_get_the_same_scores():
    rows = clusters(rows=60)
    assert np.array_equal(judge(*rows).scores, judge(*rows).scores)


def test_a_row_far_from_all_others_is_an_outlier():
    vectors, texts, truth = clusters(spread=0.1)
    vectors[7] = torch.tensor([0, 0, 0, 0, 0, 0, 0, 1.0])
    assert judge(vectors, texts, truth).outliers.tolist()[0] == 7


def test_labels_whose_rows_are_drawn_from_one_heap_are_hard_to_tell_apart():
    vectors, texts, truth = clusters()
    torn = np.where(truth == 1, np.where(np.arange(len(truth)) % 8 < 4, 1, 4), truth)
    pairs = judge(vectors, texts, torn).confused()
    assert [pair[:2] for pair in pairs] == [(1, 4)] and 0.3 < pairs[0][2] < 0.7


def test_every_row_is_judged_once_by_rows_of_every_label():
    truth = np.array([0] * 5 + [1] * 13)
    parts = wrong_labels.folds(truth, 5, 17)
    assert sorted(np.concatenate([test for _, test in parts])) == list(range(18))
    for train, test in parts:
        assert set(truth[train]) == {0, 1} and not set(train) & set(test)
        assert (truth[test] == 0).sum() == 1


def test_neighbours_in_chunks_are_those_at_once(monkeypatch):
    vectors, _, truth = clusters(rows=50)
    at_once = wrong_labels.neighbours(vectors.numpy(), truth, 4)
    monkeypatch.setattr(wrong_labels, "CHUNK", 7)
    in_chunks = wrong_labels.neighbours(vectors.numpy(), truth, 4)
    assert all(np.allclose(one, other) for one, other in zip(at_once, in_chunks, strict=True))


def test_an_opinion_that_tells_nothing_apart_adds_nothing():
    assert wrong_labels.scaled(np.zeros((4, 2)), np.array([0, 1, 0, 1])).tolist() == [[0, 0]] * 4


@pytest.mark.parametrize("truth", [[0] * 9, [0] * 9 + [1] * 4])
def test_too_few_rows_are_refused(truth):
    with pytest.raises(Refused, match="too few to judge labels by"):
        judge(torch.ones(len(truth), 3), ["x"] * len(truth), np.array(truth))


def test_a_level_row_has_half_a_doubt():
    level = Judgement(np.array([[1.0, 1.0], [9.0, 0.0]]), np.array([0, 0]), np.ones(2))
    assert level.doubt[0] == 0.5 and level.doubt[1] < 0.001
