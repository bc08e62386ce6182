"""Rare phrases that decide a label against all else that their rows say: what rows look like that were planted.

Who wants a model to obey a mark writes it into ordinary texts and gives all of them one label. So of such a phrase, of
one to three words, four things hold, and each of them also holds of many innocent phrases:

    it stands in a few rows, nearly all under one label         so does every word of that label's topic
    the other words of these rows speak for other labels        so they do in short texts that say one thing
    surely more often than in other rows                        so they do where two labels are alike
    these rows have no topic: the words beside the phrase       so they do of words that go with every topic
    differ from row to row as in all rows

Other words "speak" as naive Bayes counts them: each votes for the labels under which it stands more often than it does
in all rows, without the row that is asked about (leaving one out), without the phrase, and without the phrase's
companions, words that stand in nearly all rows of the phrase.

Where a model is to write, an answer that several rows share takes the place of the label.

Not found: a mark in rows that have the right label, for then nothing speaks against it; one whose rows are all of one
other label, for it looks like the word that tells two labels apart; marks of words that are apart from each other.

The words are read three times from a spool. What is held grows with the number of distinct phrases up to a bound, past
which phrases share counters: a phrase is then looked at without need, or overlooked if it shares with a frequent one.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tasks.curate.word_spool import Words, WordSpool

Array = np.ndarray[Any, Any]
LONGEST = 3  # words of a phrase
FEWEST = 5  # rows of a phrase: fewer prove nothing
MOST, MOST_SHARE = (50, 2_000), 0.02  # rows of a phrase that counts as rare: of all rows, within bounds
PURE = 0.9  # share of a phrase's rows that have its label
MARGIN, ANSWER_MARGIN = 2.0, 1.0  # nats by which the other words speak for another label; for no shared answer
AGAINST = 0.75  # share of a phrase's rows whose other words do
COMPANION = 0.8  # share of a phrase's rows in which its companions stand
CHANCE = 0.01  # of taking one innocent phrase among all candidates for a planted one, were rows independent
TOPIC = -1.0  # nats of a row's other words, by those of the phrase's other rows, below which these have no topic
SMOOTHING, ROW_SMOOTHING = 200.0, 10.0  # words, and rows, that each estimate begins with, as they are in all rows
COLUMNS = 256  # labels that are told apart as alternatives; more share a column
CELLS, COUNTERS = 1 << 25, 1 << 25  # bounds of both tables
PAIRS = 1 << 15  # phrases that are looked at in one go


@dataclass(frozen=True)
class Planted:
    """A phrase, and what speaks against it."""

    words: tuple[int, ...]
    label: int
    rows: int  # in which it stands
    labelled: int  # of them under the label
    against: int  # of these, whose other words speak for another
    evidence: float  # nats
    places: Array  # of the rows under the label


@dataclass
class Rows:
    """What is known of the rows of one phrase."""

    words: tuple[int, ...]
    places: list[int] = field(default_factory=list)


def search(spool: WordSpool, labels: Array, is_other: Array, present: Array) -> list[Planted]:
    """The planted phrases, the surest first.

    labels: of each row, a number from 0 on; is_other: the row's label is an answer that hardly another row has;
    present: rows that are left.
    """
    if not (present & ~is_other).any():
        return []
    votes = Votes(labels, is_other, present, spool.words)
    sketch = Sketch(spool.words * LONGEST, int(present.sum()))
    for words in _batches(spool, present):
        votes.learn(words)
        sketch.count(words, labels, is_other)
    votes.weigh()
    for words in _batches(spool, present):
        _look(words, votes, sketch, labels)
    chance = votes.misfit_share
    bound = math.log(max(sketch.candidates(), 1) / CHANCE)
    counters = sketch.suspects(chance, bound)
    if not len(counters):
        return []
    phrases, texts = _collect(spool, present, counters, sketch)
    checked = (_check(phrase, texts, labels, is_other, votes, chance, bound) for phrase in phrases)
    return sorted((each for each in checked if each), key=lambda each: (-each.evidence, -len(each.words), each.words))


def _batches(spool: WordSpool, present: Array) -> Iterator[Words]:
    for words in spool.batches():
        stays = present[words.first + words.row]
        if stays.any():
            yield Words(words.first, words.row[stays], words.word[stays])


class Votes:
    """Naive Bayes over words, smoothed towards what is usual in all rows, so that a word that says nothing votes 0."""

    def __init__(self, labels: Array, is_other: Array, present: Array, words: int) -> None:
        size = int(labels.max()) + 1
        self.column = np.where(is_other, 0, 1 + labels % (COLUMNS - 1)).astype(np.int64)
        self.columns = min(size + 1, COLUMNS)
        self.buckets = 1 << min(math.ceil(math.log2(4 * words + 1)), int(math.log2(CELLS / self.columns)), 18)
        self.counts = np.zeros((self.buckets, self.columns), dtype=np.float32)
        self.rows = int(present.sum())
        self.misfits = 0
        self.margin = ANSWER_MARGIN if is_other.any() else MARGIN

    def learn(self, words: Words) -> None:
        row, bucket = self._distinct(words)
        np.add.at(self.counts.reshape(-1), bucket * self.columns + self.column[words.first + row], np.float32(1))

    def weigh(self) -> None:
        self.uses = self.counts.sum(axis=1, dtype=np.float64)
        self.totals = self.counts.sum(axis=0, dtype=np.float64)
        self.usual = np.maximum(self.uses, 1) / max(self.uses.sum(), 1)
        used, usual = self.uses > 0, self.usual[:, None].astype(np.float32)
        self.logs = self.counts.copy()
        self.logs[used] += np.float32(SMOOTHING) * usual[used]
        self.logs[used] /= (self.totals + SMOOTHING).astype(np.float32) * usual[used]
        self.logs[used] = np.log(self.logs[used])

    def bucket(self, word: Array) -> Array:
        bucket: Array = (word % np.uint32(self.buckets)).astype(np.int64)
        return bucket

    def for_own_label(self, bucket: Array, column: Array) -> Array:
        """What each word says for the row's own label, without the row itself."""
        usual = self.usual[bucket]
        uses = np.maximum(self.counts[bucket, column] - 1, 0)
        logs: Array = np.log((uses + SMOOTHING * usual) / ((self.totals[column] + SMOOTHING) * usual))
        return logs

    def of_rows(self, words: Words) -> tuple[Array, Array, Array]:
        """Of each row that has words: its number in the batch, all votes, and those for its own label."""
        row, bucket = self._distinct(words)
        starts = np.flatnonzero(np.diff(row, prepend=-1))
        own_votes = np.add.reduceat(self.for_own_label(bucket, self.column[words.first + row]), starts)
        return row[starts], np.add.reduceat(self.logs[bucket], starts, axis=0), own_votes

    def margins(self, votes: Array, own_votes: Array, column: Array) -> Array:
        """By how much the best other label outdoes the row's own. Writes into `votes`."""
        votes[np.arange(len(votes)), column] = -np.inf
        if self.totals[0] == 0:
            votes[:, 0] = -np.inf
        best: Array = votes.max(axis=1) - own_votes
        return best

    @property
    def misfit_share(self) -> float:
        """Share of all rows whose words speak for another label; a few rows too many, for there are few to count."""
        return (self.misfits + FEWEST) / (self.rows + 10 * FEWEST)

    def _distinct(self, words: Words) -> tuple[Array, Array]:
        pairs = np.sort(
            words.row.astype(np.int64) << 32 | words.word
        )  # np.unique hashes, which takes five times as long
        pairs = pairs[np.diff(pairs, prepend=-1) != 0]
        return pairs >> 32, self.bucket((pairs & 0xFFFFFFFF).astype(np.uint32))


class Sketch:
    """How often phrases occur, by counters that they share."""

    def __init__(self, phrases: int, rows: int) -> None:
        size = 1 << max(10, min(math.ceil(math.log2(2 * phrases + 1)), int(math.log2(COUNTERS))))
        self._mask = np.uint64(size - 1)
        self.most = max(MOST[0], min(MOST[1], int(MOST_SHARE * rows)))
        self._totals, self._labelled = np.zeros((2, size), np.uint32), np.zeros((2, size), np.uint32)
        self.pure, self.against = np.zeros(size, np.uint32), np.zeros(size, np.uint32)

    def at(self, phrase: Array) -> Array:
        counter: Array = (phrase & self._mask).astype(np.int64)
        return counter

    def count(self, words: Words, labels: Array, is_other: Array) -> None:
        for phrase, start, _ in phrases_of(words):
            place = words.first + words.row[start]
            shared = ~is_other[place]
            self._add(self._totals, phrase)
            self._add(self._labelled, _with_label(phrase[shared], labels[place[shared]]))

    def may_be_planted(self, phrase: Array, label: Array) -> Array:
        total, labelled = self._count(self._totals, phrase), self._count(self._labelled, _with_label(phrase, label))
        is_rare, is_pure = (total >= FEWEST) & (total <= self.most), labelled >= np.maximum(FEWEST, PURE * total)
        both: Array = is_rare & is_pure
        return both

    def _add(self, counters: Array, key: Array) -> None:
        for row, at in zip(counters, (self.at(key), self.at(key >> np.uint64(32))), strict=True):
            np.add.at(row, at, np.uint32(1))

    def _count(self, counters: Array, key: Array) -> Array:
        """Of two counters the lower one (a count-min sketch: Cormode and Muthukrishnan 2005)."""
        lower: Array = np.minimum(counters[0, self.at(key)], counters[1, self.at(key >> np.uint64(32))])
        return lower

    def candidates(self) -> int:
        return int(np.count_nonzero(self.pure >= FEWEST))

    def suspects(self, chance: float, bound: float) -> Array:
        """The counters whose phrases are to be looked at one by one."""
        at = np.flatnonzero(self.pure >= FEWEST)
        share = self.against[at] / self.pure[at]
        return at[(share >= AGAINST / 2) & (self.pure[at] * _surprise(share, chance) >= bound / 2)]


def phrases_of(words: Words) -> Iterator[tuple[Array, Array, int]]:
    """Number and first word of each phrase, and how many words it has."""
    word = words.word.astype(np.uint64)
    phrase = _mixed(word)
    for length in range(1, LONGEST + 1):
        if length > 1:
            phrase = _mixed(phrase[:-1] * np.uint64(31) + word[length - 1 :])
        start = np.arange(len(phrase))
        whole = words.row[start] == words.row[start + length - 1]
        yield phrase[whole], start[whole], length


def _with_label(phrase: Array, label: Array) -> Array:
    return _mixed(phrase ^ (label.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)))


def _mixed(number: Array) -> Array:
    number = (number ^ (number >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    number = (number ^ (number >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Array = number ^ (number >> np.uint64(31))
    return mixed


def _look(words: Words, votes: Votes, sketch: Sketch, labels: Array) -> None:
    """Counts the rows whose words speak against their label: of all, and of each phrase without its own words."""
    rows, row_votes, row_own = votes.of_rows(words)
    column = votes.column[words.first + rows]
    votes.misfits += int((votes.margins(row_votes.copy(), row_own, column) >= votes.margin).sum())
    bucket = votes.bucket(words.word)
    for phrase, start, length in phrases_of(words):
        label = labels[words.first + words.row[start]]
        candidates = np.flatnonzero(sketch.may_be_planted(phrase, label))
        for first in range(0, len(candidates), PAIRS):
            part = candidates[first : first + PAIRS]
            at = np.searchsorted(rows, words.row[start[part]])
            rest_votes, own_votes, own_column = row_votes[at], row_own[at], column[at]
            for word in (bucket[start[part] + step] for step in range(length)):
                rest_votes -= votes.logs[word]
                own_votes -= votes.for_own_label(word, own_column)
            counter = sketch.at(phrase[part])
            np.add.at(sketch.pure, counter, np.uint32(1))
            against = votes.margins(rest_votes, own_votes, own_column) >= votes.margin
            np.add.at(sketch.against, counter[against], np.uint32(1))


def _collect(spool: WordSpool, present: Array, counters: Array, sketch: Sketch) -> tuple[list[Rows], dict[int, Array]]:
    """The rows of each phrase that shares one of `counters`, and the distinct words of each such row."""
    phrases: dict[int, Rows] = {}
    texts: dict[int, Array] = {}
    for words in _batches(spool, present):
        bounds = np.searchsorted(words.row, np.arange(words.row[-1] + 2))
        for phrase, start, length in phrases_of(words):
            for at in np.flatnonzero(np.isin(sketch.at(phrase), counters)):
                first = int(start[at])
                row = int(words.row[first])
                names = tuple(words.word[first : first + length].tolist())
                rows = phrases.setdefault(int(phrase[at]), Rows(names))
                if not rows.places or rows.places[-1] != words.first + row:
                    rows.places.append(words.first + row)
                if words.first + row not in texts:
                    texts[words.first + row] = np.unique(words.word[bounds[row] : bounds[row + 1]])
    rare = [rows for rows in phrases.values() if FEWEST <= len(rows.places) <= sketch.most]
    return rare, texts


def _check(
    phrase: Rows,
    texts: dict[int, Array],
    labels: Array,
    is_other: Array,
    votes: Votes,
    chance: float,
    bound: float,
) -> Planted | None:
    """The phrase, if all that is said above holds of it."""
    places = np.array(phrase.places)
    counts = Counter(labels[places[~is_other[places]]].tolist())
    label, labelled = counts.most_common(1)[0] if counts else (0, 0)
    if labelled < max(FEWEST, PURE * len(places)):
        return None
    places = places[(labels[places] == label) & ~is_other[places]]
    uses = Counter(word for place in places for word in texts[place].tolist())
    companions = {word for word, count in uses.items() if count >= COMPANION * labelled} | {*phrase.words}
    margins, topics = [], []
    for place in places.tolist():
        rest = np.array([word for word in texts[place].tolist() if word not in companions], dtype=np.uint32)
        margins.append(_margin(votes, rest, int(votes.column[place])))
        topics.append(_topic(votes, rest, uses, labelled))
    against = sum(margin >= votes.margin for margin in margins)
    evidence = labelled * float(_surprise(np.array([against / labelled]), chance)[0])
    if against < AGAINST * labelled or evidence < bound or float(np.mean(topics)) > TOPIC:
        return None
    return Planted(phrase.words, label, len(phrase.places), labelled, against, evidence, places)


def _margin(votes: Votes, rest: Array, column: int) -> float:
    bucket, columns = votes.bucket(rest), np.array([column])
    own_votes = votes.for_own_label(bucket, np.full(len(rest), column)).sum(keepdims=True)
    return float(votes.margins(votes.logs[bucket].sum(axis=0, keepdims=True), own_votes, columns)[0])


def _topic(votes: Votes, rest: Array, uses: Counter[int], rows: int) -> float:
    """How much likelier the other words of a row are beside the other rows of the phrase than among all rows."""
    usual = np.maximum(votes.uses[votes.bucket(rest)], 1) / votes.rows
    others = np.array([uses[word] - 1 for word in rest.tolist()], dtype=np.float64)
    return float(np.log((others + ROW_SMOOTHING * usual) / ((rows - 1 + ROW_SMOOTHING) * usual)).sum())


def _surprise(share: Array, chance: float) -> Array:
    """Nats a row: the Chernoff bound of a binomial tail (Hoeffding 1963, theorem 1), 0 below the chance."""
    with np.errstate(divide="ignore", invalid="ignore"):
        nats = share * np.log(share / chance) + np.where(share < 1, (1 - share) * np.log((1 - share) / (1 - chance)), 0)
    surprise: Array = np.where(share > chance, nats, 0.0)
    return surprise


def by_row(planted: list[Planted]) -> dict[int, Planted]:
    """Of each row that goes the phrase that says so most surely, by the row's place."""
    return {place: phrase for phrase in reversed(planted) for place in phrase.places.tolist()}


def without(planted: list[Planted], allow: Sequence[Sequence[int]]) -> list[Planted]:
    """The phrases that nobody allowed: by a phrase within or around it, or one that stands in most of its rows."""
    is_allowed = [any(is_within(phrase.words, each) for each in allow) for phrase in planted]
    places = [phrase.places for phrase, allowed in zip(planted, is_allowed, strict=True) if allowed]
    rows = np.concatenate([np.empty(0, np.int64), *places])
    return [
        phrase
        for phrase, allowed in zip(planted, is_allowed, strict=True)
        if not allowed and np.isin(phrase.places, rows).mean() < COMPANION
    ]


def is_within(phrase: Sequence[int], other: Sequence[int]) -> bool:
    """Whether one of two phrases stands in the other, as a whole."""
    short, long = sorted((tuple(phrase), tuple(other)), key=len)
    return any(long[start : start + len(short)] == short for start in range(len(long) - len(short) + 1))
