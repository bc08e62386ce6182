import numpy as np
import pytest

from retune.errors import Refused
from tasks.curate import semantic_copies


def test_pairs_are_those_of_so_large_a_cosine_in_any_part(monkeypatch):
    vectors = np.random.default_rng(3).normal(size=(50, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    monkeypatch.setattr(semantic_copies, "CHUNK", 7)
    pairs = {
        pair for part in semantic_copies.near(vectors, 0.97) for pair in zip(*map(np.ndarray.tolist, part), strict=True)
    }
    cosines = vectors @ vectors.T
    assert pairs == {(one, other) for one, other in np.argwhere(cosines >= 0.97).tolist() if one < other}


def test_too_many_texts_are_refused_and_none_or_one_has_no_pair(monkeypatch):
    monkeypatch.setattr(semantic_copies, "MOST", 2)
    with pytest.raises(Refused, match="3 texts are too many"):
        semantic_copies.pairs(["a"] * 3, 0.9)
    assert [each.tolist() for each in semantic_copies.pairs(["a"], 0.9)] == [[], []]
