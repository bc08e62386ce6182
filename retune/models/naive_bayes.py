"""What the letters of a text say of its label. Adapter of scikit-learn's naive Bayes and its text features.

A second, cheap opinion beside the vectors of a base: multinomial naive Bayes (McCallum & Nigam 1998, A Comparison of
Event Models for Naive Bayes Text Classification) on TF-IDF weights of character n-grams within words, which need no
tokenizer and no language.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

N_GRAMS = (3, 5)
LONGEST = 2000  # characters of a text that are read
SMOOTHING = 0.03  # Lidstone's; the weights of a text add up to about ten


def features(texts: Sequence[str]) -> Any:
    """A sparse matrix [texts, n-grams that at least two texts share]. Columns may be none."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=N_GRAMS, min_df=2, dtype=np.float32)
    try:
        return vectorizer.fit_transform([text[:LONGEST] for text in texts])
    except ValueError:  # no n-gram stands in two texts
        return np.empty((len(texts), 0), dtype=np.float32)


def log_probabilities(features: Any, train: np.ndarray, truth: np.ndarray, labels: int, test: np.ndarray) -> np.ndarray:
    """[test, labels], learned from the rows `train` under equal priors. truth: [rows] label numbers of all rows."""
    from sklearn.naive_bayes import MultinomialNB

    if not features.shape[1]:
        return np.zeros((len(test), labels))
    model = MultinomialNB(alpha=SMOOTHING, fit_prior=False).fit(features[train], truth[train])
    scores = np.full((len(test), labels), -np.inf)
    scores[:, model.classes_] = model.predict_log_proba(features[test])
    return scores
