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
Pairs = tuple[Array, Array]
ALONE = -1
WINDOW = 8  # texts of a group with which each is compared
DOUBT = 4.0  # standard errors by which an estimate may lie below the truth
PAIRS, SHINGLES = 1 << 16, 1 << 22  # compared at a time, so that memory has a bound
REMEMBERED = 1 << 22  # pairs that were compared in full, and are not again


class Collection:
    """The shingles and signatures of rows, in the order in which they came, kept in two files."""

    def __init__(self, hashes: IO[bytes], signatures: IO[bytes]) -> None:
        self._files = (hashes, signatures)
        self._rows: list[Array] = [np.empty(0, np.int64)]
        self._counts: list[Array] = [np.empty(0, np.int32)]
        self._sketches: list[Array] = [np.empty((0, SLOTS // 64), np.uint64)]

    def add(self, rows: Array, shingles: Shingles) -> None:
        """`rows`: the places of the texts among all received rows, ascending."""
        self._rows.append(rows)
        self._counts.append(shingles.counts)
        self._sketches.append(np.packbits(shingles.signatures & 1, axis=1).view(np.uint64))
        for file, array in zip(self._files, (shingles.hashes, shingles.signatures), strict=True):
            file.write(array.tobytes())

    def clusters(self, rows: Array, similarity: float, also: Pairs | None = None) -> Array:
        """For each of `rows`, ascending, the first row of its cluster; ALONE where no other is near to it.

        also: further pairs to join, as places in `rows`.
        """
        places = np.searchsorted(np.concatenate(self._rows), rows)
        if len(rows) < 2:
            return np.full(len(rows), ALONE)
        component = _Texts(*self._mapped(), places).components(similarity)
        component = _joined(component, *also) if also else component
        _, first, number, counts = np.unique(component, return_index=True, return_inverse=True, return_counts=True)
        return np.where(counts[number] > 1, rows[first][number], ALONE)

    def _mapped(self) -> tuple[Array, Array, Array, Array]:
        for file in self._files:
            file.flush()
        hashes, signatures = self._files
        counts = np.concatenate(self._counts)
        return (
            counts,
            np.concatenate(self._sketches),
            np.memmap(hashes, np.uint32, "r", shape=(int(counts.sum()),)),
            np.memmap(signatures, np.uint16, "r", shape=(len(counts), SLOTS)),
        )


class _Texts:
    """The texts at `places` of a collection."""

    def __init__(self, counts: Array, sketches: Array, hashes: Array, signatures: Array, places: Array) -> None:
        self._counts, self._sketches, self._hashes, self._signatures = counts, sketches, hashes, signatures
        self._places = places
        self._starts = np.cumsum(counts, dtype=np.int64) - counts
        self._unlike = np.empty(0, np.uint64)  # pairs that were compared in full and are no near-copies, ascending
        self._unlike_of_band: list[Array] = []

    def components(self, similarity: float) -> Array:
        """A number for each text, the same for those of a cluster."""
        component = np.arange(len(self._places))
        bands = self._signatures.view(np.uint64)
        key = bands[self._places, 0]
        for band in range(bands.shape[1]):
            tie = bands[self._places, (band + 1) % bands.shape[1]]
            order = np.lexsort((tie, key))
            for one, other in candidates(key[order]):
                one, other = order[one], order[other]
                is_open = component[one] != component[other]
                one, other = one[is_open], other[is_open]
                near = self._near(self._places[one], self._places[other], similarity)
                component = _joined(component, one[near], other[near])
            if len(self._unlike) < REMEMBERED:
                self._unlike = np.sort(np.concatenate([self._unlike, *self._unlike_of_band]))
            self._unlike_of_band.clear()
            key = tie
        return component

    def _near(self, one: Array, other: Array, similarity: float) -> Array:
        """Which of the pairs are near-copies, ascending. The quick tests come first: of those near by a hair they leave
        out one of ten thousand, and of others fewer. A sketch is a bit of each slot (Li and Koenig, b-Bit Minwise
        Hashing, 2010).
        """
        likely = np.arange(len(one))
        for passes in (self._sizes_allow, self._sketches_allow, self._signatures_allow):
            likely = likely[passes(one[likely], other[likely], similarity)]
        first, second = np.minimum(one[likely], other[likely]), np.maximum(one[likely], other[likely])
        pairs = first.astype(np.uint64) << np.uint64(32) | second.astype(np.uint64)
        is_new = ~_among(pairs, self._unlike)
        likely, pairs = likely[is_new], pairs[is_new]
        near = np.zeros(len(likely), np.bool_)
        for portion in self._portions(one[likely], other[likely]):
            near[portion] = self._similarity(one[likely[portion]], other[likely[portion]]) >= similarity
        self._unlike_of_band.append(pairs[~near])
        return likely[near]

    def _sizes_allow(self, one: Array, other: Array, similarity: float) -> Array:
        """Two texts share no more shingles than the smaller one has."""
        sizes = self._counts[one], self._counts[other]
        allowed: Array = np.minimum(*sizes) >= similarity * np.maximum(*sizes)
        return allowed

    def _sketches_allow(self, one: Array, other: Array, similarity: float) -> Array:
        """Bits are equal in the pairs of slots that are, and in half of the others."""
        differing = np.bitwise_count(self._sketches[one] ^ self._sketches[other]).sum(axis=1, dtype=np.int32)
        allowed: Array = 1 - 2 * differing / SLOTS >= similarity - DOUBT * np.sqrt((1 - similarity**2) / SLOTS)
        return allowed

    def _signatures_allow(self, one: Array, other: Array, similarity: float) -> Array:
        lowest = similarity - DOUBT * np.sqrt(similarity * (1 - similarity) / SLOTS)
        allowed = np.zeros(len(one), np.bool_)
        for start in range(0, len(one), PAIRS):
            portion = slice(start, start + PAIRS)
            equal = self._signatures[one[portion]] == self._signatures[other[portion]]
            allowed[portion] = equal.mean(axis=1) >= lowest
        return allowed

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


def _among(values: Array, ascending: Array) -> Array:
    """Which of `values` are in `ascending`."""
    if not len(ascending):
        return np.zeros(len(values), np.bool_)
    places = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    contained: Array = ascending[places] == values
    return contained


def candidates(keys: Array) -> Iterator[Pairs]:
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
