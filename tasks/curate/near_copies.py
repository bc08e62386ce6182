"""Clusters of near-copies: texts that differ in a few words, in a number or in a placeholder.

    collection.clusters(rows, similarity)    # of each of `rows` the first row of its cluster, or ALONE

Texts that share a band of their MinHash signatures are candidates. A pair counts by the share of shingles that both
really have, so that no chance of hashing joins two texts. What is near to a near-copy is in its cluster too.

A band is sorted, and in it each text is compared with the first of its group and with the `WINDOW` that follow. So time
grows with the number of texts, also where a phrase that everyone uses puts thousands into one group, and the order in
which rows arrived changes nothing. All that is held of a text is a few numbers; shingles and signatures lie in files.
"""

from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tasks.curate.shingles import SLOTS, Shingles

Array = np.ndarray[Any, Any]
ALONE = -1
WINDOW = 8  # texts of a group with which each is compared
DOUBT = 0.15  # by which an estimate from SLOTS slots may lie below the truth: four standard errors
PAIRS, SHINGLES = 1 << 16, 1 << 22  # compared at a time, so that memory has a bound


class Collection:
    """The shingles and signatures of rows, in the order in which they came, kept in two files."""

    def __init__(self, hashes: IO[bytes], signatures: IO[bytes]) -> None:
        self._files = (hashes, signatures)
        self._rows: list[Array] = [np.empty(0, np.int64)]
        self._counts: list[Array] = [np.empty(0, np.int32)]

    def add(self, rows: Array, shingles: Shingles) -> None:
        """`rows`: the places of the texts among all received rows, ascending."""
        self._rows.append(rows)
        self._counts.append(shingles.counts)
        for file, array in zip(self._files, (shingles.hashes, shingles.signatures), strict=True):
            file.write(array.tobytes())

    def clusters(self, rows: Array, similarity: float) -> Array:
        """For each of `rows`, ascending, the first row of its cluster; ALONE where no other is near to it."""
        places = np.searchsorted(np.concatenate(self._rows), rows)
        if len(rows) < 2:
            return np.full(len(rows), ALONE)
        component = _Texts(*self._mapped(), places).components(similarity)
        _, first, number, counts = np.unique(component, return_index=True, return_inverse=True, return_counts=True)
        return np.where(counts[number] > 1, rows[first][number], ALONE)

    def _mapped(self) -> tuple[Array, Array, Array]:
        for file in self._files:
            file.flush()
        hashes, signatures = self._files
        counts = np.concatenate(self._counts)
        return (
            counts,
            np.memmap(hashes, np.uint32, "r", shape=(int(counts.sum()),)),
            np.memmap(signatures, np.uint16, "r", shape=(len(counts), SLOTS)),
        )


class _Texts:
    """The texts at `places` of a collection."""

    def __init__(self, counts: Array, hashes: Array, signatures: Array, places: Array) -> None:
        self._counts, self._hashes, self._signatures, self._places = counts, hashes, signatures, places
        self._starts = np.cumsum(counts, dtype=np.int64) - counts

    def components(self, similarity: float) -> Array:
        """A number for each text, the same for those of a cluster."""
        component = np.arange(len(self._places))
        bands = self._signatures.view(np.uint64)
        for band in range(bands.shape[1]):
            key, tie = (bands[self._places, at % bands.shape[1]] for at in (band, band + 1))
            order = np.lexsort((tie, key))
            for one, other in candidates(key[order]):
                one, other = order[one], order[other]
                is_open = component[one] != component[other]
                one, other = one[is_open], other[is_open]
                near = self._are_near(self._places[one], self._places[other], similarity)
                component = _joined(component, one[near], other[near])
        return component

    def _are_near(self, one: Array, other: Array, similarity: float) -> Array:
        """Which pairs are near-copies: by an estimate first, which is quick, and then by all their shingles."""
        near = np.zeros(len(one), np.bool_)
        for start in range(0, len(one), PAIRS):
            portion = slice(start, start + PAIRS)
            estimate = (self._signatures[one[portion]] == self._signatures[other[portion]]).mean(axis=1)
            near[portion] = estimate >= similarity - DOUBT
        likely = np.flatnonzero(near)
        for portion in self._portions(one[likely], other[likely]):
            part = likely[portion]
            near[part] = self._similarity(one[part], other[part]) >= similarity
        return near

    def _portions(self, one: Array, other: Array) -> Iterator[slice]:
        """Slices of the pairs, of a bounded number of shingles unless one pair alone has more."""
        total = np.cumsum(self._counts[one].astype(np.int64) + self._counts[other])
        cuts = np.unique(np.searchsorted(total, np.arange(0, total[-1] if len(total) else 0, SHINGLES)))
        return (slice(*cut) for cut in zip(cuts, [*cuts[1:], len(one)], strict=False))

    def _similarity(self, one: Array, other: Array) -> Array:
        """The share of the shingles of a pair that both have."""
        sizes = self._counts[one] + self._counts[other]
        keys = np.sort(np.concatenate([self._keys(one), self._keys(other)]))
        shared = np.bincount((keys[1:][keys[1:] == keys[:-1]] >> np.uint64(32)).astype(np.int64), minlength=len(one))
        similarity: Array = shared / np.maximum(sizes - shared, 1)
        return similarity

    def _keys(self, places: Array) -> Array:
        """The hashes of texts, each with the number of the text in the upper half."""
        counts = self._counts[places].astype(np.int64)
        number = np.repeat(np.arange(len(places)), counts)
        within = np.arange(len(number)) - np.repeat(np.cumsum(counts) - counts, counts)
        hashes = self._hashes[self._starts[places][number] + within]
        keys: Array = number.astype(np.uint64) << np.uint64(32) | hashes
        return keys


def candidates(keys: Array) -> Iterator[tuple[Array, Array]]:
    """Pairs of places in `keys`, which ascend, where they are equal."""
    for offset in range(1, WINDOW + 1):
        ones = np.flatnonzero(keys[offset:] == keys[:-offset])
        if not len(ones):
            return
        yield ones, ones + offset
    begins = np.concatenate([[True], keys[1:] != keys[:-1]])
    first = np.maximum.accumulate(np.where(begins, np.arange(len(keys)), 0))
    far = np.flatnonzero(np.arange(len(keys)) - first > WINDOW)
    yield first[far], far


def _joined(component: Array, one: Array, other: Array) -> Array:
    """The components once each of `one` is joined with that of `other`: of these the names, and no others, change."""
    if not len(one):
        return component
    names, ends = np.unique(np.concatenate([component[one], component[other]]), return_inverse=True)
    edges = (np.ones(len(one), np.bool_), (ends[: len(one)], ends[len(one) :]))
    _, labels = connected_components(coo_array(edges, shape=(len(names),) * 2), directed=False)
    _, first = np.unique(labels, return_index=True)
    name_of = np.arange(len(component))
    name_of[names] = names[first][labels]
    result: Array = name_of[component]
    return result
