import numpy as np

from retune.serving import sketches


def test_a_sketch_keeps_distances_about_as_they_are():
    draw = np.random.default_rng(1)
    vectors = draw.standard_normal((40, 384)) / np.sqrt(384)
    short = sketches.sketch(vectors).astype(float)
    pairs = [(one, other) for one in range(40) for other in range(one)]
    ratios = [np.linalg.norm(short[a] - short[b]) / np.linalg.norm(vectors[a] - vectors[b]) for a, b in pairs]
    assert 0.9 < np.mean(ratios) < 1.1 and np.std(ratios) < 0.2


def test_a_sketch_is_the_same_on_every_machine():
    assert sketches.sketch(np.arange(4) / 4)[:3].tolist() == [-0.37451171875, -0.346435546875, 0.0819091796875]


def test_bytes_hold_the_sketch_and_no_number_that_is_none():
    vector = np.arange(8, dtype=np.float32)
    stored = sketches.as_bytes(vector)
    assert len(stored) == 64
    assert (sketches.from_bytes([stored, stored])[1] == sketches.sketch(vector).astype(np.float32)).all()
    assert sketches.as_bytes(None) is None
    assert sketches.as_bytes([1.0, np.nan]) is None
