import numpy as np

from retune.models import naive_bayes

TEXTS = [
    "where is my parcel",
    "where is the parcel",
    "parcels are late",
    "refund my money",
    "money refund",
    "refunded?",
]
TRUTH = np.array([0, 0, 0, 1, 1, 1])


def test_letters_that_a_text_shares_with_a_label_speak_for_it():
    rows = np.arange(6)
    scores = naive_bayes.log_probabilities(naive_bayes.features(TEXTS), rows, TRUTH, 3, rows)
    assert scores[:, :2].argmax(1).tolist() == TRUTH.tolist()
    assert np.allclose(np.exp(scores).sum(1), 1)
    assert np.isneginf(scores[:, 2]).all()  # a label that no row has


def test_texts_that_share_no_letters_say_nothing():
    scores = naive_bayes.log_probabilities(naive_bayes.features(["?", "!", ""]), np.arange(2), TRUTH, 2, np.array([2]))
    assert scores.tolist() == [[0.0, 0.0]]
