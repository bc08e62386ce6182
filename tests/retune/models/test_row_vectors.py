"""The vectors that a version keeps of its rows, and the nearest of them."""

import numpy as np

from retune.models import row_vectors

VECTORS = np.eye(4, dtype=np.float32)


def test_what_is_written_is_read_and_the_bytes_are_the_same_each_time(tmp_path):
    rows = row_vectors.sample(["a", "b", "ä"], VECTORS[:3], 10, 17)
    for name in "xy":
        (tmp_path / name).mkdir()
        row_vectors.write(rows, tmp_path / name)
    again = row_vectors.read(tmp_path / "x")
    assert again.ids == ["a", "b", "ä"] and again.vectors.dtype == np.float16
    assert np.array_equal(again.vectors, VECTORS[:3])
    assert (tmp_path / "x" / row_vectors.FILE).read_bytes() == (tmp_path / "y" / row_vectors.FILE).read_bytes()


def test_a_folder_without_vectors_has_none(tmp_path):
    assert row_vectors.read(tmp_path) is None
    row_vectors.write(row_vectors.sample(["a"], VECTORS[:1], 0, 17), tmp_path)
    assert row_vectors.read(tmp_path) is None


def test_of_more_rows_the_same_ones_are_kept_whatever_came_beside_them():
    ids = [f"r{number}" for number in range(100)]
    vectors = np.random.default_rng(1).normal(size=(100, 3)).astype(np.float32)
    some = row_vectors.sample(ids, vectors, 10, 17)
    assert some.ids == sorted(some.ids, key=ids.index) and len(some.ids) == 10
    for name, vector in zip(some.ids, some.vectors, strict=True):
        assert np.array_equal(vector, vectors[ids.index(name)].astype(np.float16))
    fewer = row_vectors.sample([name for name in ids if name in some.ids], some.vectors, 10, 17)
    assert fewer.ids == some.ids
    assert row_vectors.sample(ids, vectors, 10, 18).ids != some.ids


def test_the_nearest_row_comes_first():
    rows = row_vectors.RowVectors(list("abcd"), VECTORS.astype(np.float16))
    query = np.array([0.0, 0.6, 0.0, 0.8], dtype=np.float32)
    (first, similarity), second, third = row_vectors.nearest(rows, query, 3)
    assert (first, second[0], third[0]) == ("d", "b", "a") and abs(similarity - 0.8) < 1e-3
    assert len(row_vectors.nearest(rows, query, 9)) == 4
