import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from retune.config.classification import Probe
from retune.errors import Refused
from retune.models import probe

PARAMS = Probe(c=10.0, max_iterations=1000)


def points(labels, count=90, seed=0):
    draw = np.random.default_rng(seed)
    truth = np.arange(count) % labels
    return torch.tensor(draw.normal(size=(labels, 8))[truth] + draw.normal(size=(count, 8)), dtype=torch.float32), truth


@pytest.mark.parametrize("labels", [2, 3, 5])
def test_the_head_says_what_the_logistic_regression_says(labels):
    vectors, truth = points(labels)
    head = probe.fit(vectors, truth.tolist(), labels, None, PARAMS)
    reference = LogisticRegression(C=10.0, max_iter=1000).fit(vectors.numpy(), truth)
    probabilities = head(vectors).softmax(-1).detach().numpy()
    assert probabilities == pytest.approx(reference.predict_proba(vectors.numpy()), abs=1e-4)


@pytest.mark.parametrize("labels", [3, 4])
def test_a_label_without_train_rows_is_never_the_answer(labels):
    vectors, truth = points(2)
    truth = np.where(truth == 1, labels - 1, 0)
    head = probe.fit(vectors, truth.tolist(), labels, None, PARAMS)
    assert set(head(vectors).argmax(-1).tolist()) == {0, labels - 1}


def test_the_weight_of_a_label_moves_answers_towards_it():
    vectors, truth = points(2, count=60)
    plain = probe.fit(vectors, truth.tolist(), 2, None, PARAMS)
    weighted = probe.fit(vectors, truth.tolist(), 2, torch.tensor([0.01, 1.0]), PARAMS)
    assert weighted(vectors).argmax(-1).sum() > plain(vectors).argmax(-1).sum()


def test_vectors_that_are_no_numbers_are_refused_before_the_fit():
    vectors, truth = points(2)
    vectors[3] = torch.nan
    with pytest.raises(Refused, match="the base gives no number for 1 of 90 texts"):
        probe.fit(vectors, truth.tolist(), 2, None, PARAMS)
