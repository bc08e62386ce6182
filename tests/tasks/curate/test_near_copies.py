import json
import random
import tempfile
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from retune.config.common import NearCopies
from tasks.curate.near_copies import ALONE, WINDOW, Collection, candidates
from tasks.curate.shingles import shingles
from tests.support.curation import (
    NEAR,
    WRITING,
    decision_on,
    fates,
    outcome,
    preference_rows,
    reply_rows,
    rows,
)
from tests.support.environment import ROOT

ONE = replace(NEAR, near_copies=NearCopies(similarity=0.8, semantic=None, keep="one"))
WRITING_NEAR = replace(WRITING, near_copies=NEAR.near_copies)
WRITING_ONE = replace(WRITING, near_copies=ONE.near_copies)
TEXT = "I sent the router back in May and the 12.99 is still not on my card"
NEAR_TEXT = "I sent the router back in June and the 84.20 is still not on my card"
OTHER = "The courier left my parcel with the neighbours on the second floor again"


def clusters(texts, similarity=0.8, batch=1000, places=None):
    with tempfile.TemporaryFile() as hashes, tempfile.TemporaryFile() as signatures:
        collection = Collection(hashes, signatures)
        for start in range(0, len(texts), batch):
            part = pd.Series(texts[start : start + batch], dtype="str")
            collection.add(np.arange(start, start + len(part)), shingles(part))
        return collection.clusters(np.arange(len(texts)) if places is None else np.array(places), similarity).tolist()


def words(count, seed=3):
    chance = random.Random(seed)
    return [" ".join(f"w{chr(97 + chance.randrange(26))}{chr(97 + chance.randrange(26))}" for _ in range(count))]


def varied(texts, seed):
    """Each text, and some with one to four words changed."""
    chance = random.Random(seed)
    for text in texts:
        yield text
        for changed in range(1, 5):
            split = text.split()
            for place in chance.sample(range(len(split)), changed):
                split[place] = f"new{chance.choice('abcdefgh')}"
            yield " ".join(split)


def sets_of(texts):
    parts = shingles(pd.Series(texts, dtype="str"))
    return [*map(set, np.split(parts.hashes, np.cumsum(parts.counts)[:-1]))]


def jaccard(one, other):
    return len(one & other) / len(one | other)


def test_the_clusters_are_those_of_all_pairs_compared():
    texts = [*varied([words(25, seed)[0] for seed in range(40)], 5)]
    sets, expected = sets_of(texts), list(range(len(texts)))
    for one, other in combinations(range(len(texts)), 2):
        if jaccard(sets[one], sets[other]) >= 0.8:
            low, high = sorted((expected[one], expected[other]))
            expected = [low if each == high else each for each in expected]
    sizes = pd.Series(expected).value_counts()
    assert clusters(texts) == [each if sizes[each] > 1 else ALONE for each in expected]
    assert 40 < sum(each != ALONE for each in clusters(texts)) < len(texts)


def test_a_pair_below_the_similarity_is_joined_by_no_chance():
    texts = [*varied([words(25, seed)[0] for seed in range(100)], 7)]
    sets, joined = sets_of(texts), pd.Series(clusters(texts, 0.9))
    for name, members in joined[joined != ALONE].groupby(joined):
        assert all(any(jaccard(sets[a], sets[b]) >= 0.9 for b in members.index if b != a) for a in members.index), name


def test_the_order_and_the_batches_of_rows_change_no_cluster():
    texts = [*varied([words(20, seed)[0] for seed in range(40)], 9)]
    order = random.Random(1).sample(range(len(texts)), len(texts))

    def groups(places, batch):
        names = clusters([texts[place] for place in places], batch=batch)
        pairs = [(name, place) for name, place in zip(names, places, strict=True) if name != ALONE]
        return {frozenset(place for name, place in pairs if name == each) for each in {name for name, _ in pairs}}

    assert groups(range(len(texts)), 1000) == groups(order, 1000) == groups(order, 7)


def test_a_chain_and_a_crowd_are_one_cluster_each():
    split, chain = words(40)[0].split(), []
    for place in range(20):
        split[place] = f"new{chr(97 + place)}"
        chain.append(" ".join(split))
    assert jaccard(*sets_of([chain[0], chain[-1]])) < 0.6
    assert set(clusters(chain)) == {0}
    crowd = [f"{TEXT} {number}" for number in range(5 * WINDOW)]
    assert set(clusters(crowd)) == {0}


def test_each_text_of_a_group_is_compared_with_those_that_follow_and_with_the_first():
    keys = np.array([3, 3, *[7] * (3 * WINDOW), 9])
    pairs = {pair for parts in candidates(keys) for pair in zip(*map(list, parts), strict=True)}
    group = range(2, 2 + 3 * WINDOW)
    near = {(one, other) for one in group for other in group if 0 < other - one <= WINDOW}
    assert pairs == {(0, 1)} | near | {(2, other) for other in group if other > 2}


def test_only_the_chosen_rows_are_compared():
    assert clusters([TEXT, NEAR_TEXT, OTHER, TEXT], places=[1, 2, 3]) == [1, ALONE, 1]
    assert clusters([TEXT, NEAR_TEXT], places=[1]) == [ALONE]
    assert clusters([TEXT, NEAR_TEXT], places=[]) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("lost card", "lost cards"),
        ("yes", "no"),
        ("I can log in", "I can't log in"),
        ("change my PIN", "change my name"),
    ],
)
def test_short_texts_of_other_words_are_no_near_copies(one, other):
    assert clusters([one, other]) == [ALONE, ALONE]


def test_near_copies_stay_and_are_named():
    table = rows(("1", TEXT, "a"), ("2", NEAR_TEXT, "a"), ("3", OTHER, "a"))
    assert outcome(table, NEAR) == (["1", "2", "3"], [])
    decision = decision_on(table, NEAR)
    assert decision.clusters.tolist() == [0, 0, ALONE]
    assert decision.first_ids.to_pylist() == ["1"]


def test_a_near_copy_of_a_test_row_gives_way_but_not_one_of_another_label():
    table = rows(("1", TEXT, "a"), ("2", NEAR_TEXT, "a", "test"), ("3", TEXT + " yet", "b", "train"), ("4", OTHER, "a"))
    assert outcome(table, NEAR) == (["2", "3", "4"], [("1", "near_copy_of_test", "2")])
    test_rows = rows(("1", TEXT, "a", "test"), ("2", NEAR_TEXT, "a", "test"))
    assert outcome(test_rows, ONE) == (["1", "2"], [])


def test_the_first_of_a_cluster_and_label_stays_where_one_is_wanted():
    table = rows(("1", OTHER, "a"), ("2", TEXT, "a"), ("3", NEAR_TEXT, "a"), ("4", TEXT + " yet", "b"))
    assert outcome(table, ONE) == (["1", "2", "4"], [("3", "near_copy", "2")])
    assert decision_on(table, ONE).near == [["2", "4"]]


def test_a_prompt_near_to_a_test_prompt_gives_way_whatever_its_answer():
    table = reply_rows(("1", TEXT, "yes", "test"), ("2", NEAR_TEXT, "no"), ("3", OTHER, "yes"))
    assert fates(table, "instruct", WRITING_NEAR) == (["1", "3"], [("2", "near_copy_of_test", "1")])
    pairs = preference_rows(("1", TEXT, "yes", "no", "test"), ("2", NEAR_TEXT, "so", "la"), ("3", OTHER, "a", "b"))
    assert fates(pairs, "prefer", WRITING_NEAR) == (["1", "3"], [("2", "near_copy_of_test", "1")])


def test_near_prompts_of_several_answers_stay_where_one_is_wanted():
    table = reply_rows(("1", TEXT, "yes"), ("2", NEAR_TEXT, "no"), ("3", NEAR_TEXT + " yet", "yes"))
    assert fates(table, "instruct", WRITING_ONE) == (["1", "2"], [("3", "near_copy", "1")])


def test_what_the_system_says_makes_no_prompts_alike():
    system = {"role": "system", "content": " ".join(words(60))}
    texts = [json.dumps([system, {"role": "user", "content": text}]) for text in ("lost card", "late parcel")]
    table = rows(*((str(n), text, "yes") for n, text in enumerate(texts)))
    config = replace(WRITING_NEAR, max_chars=2000)
    assert decision_on(table, config, "instruct").clusters.tolist() == [ALONE, ALONE]


def test_the_planted_near_copies_of_the_sample_are_the_clusters_and_no_other_row():
    tickets = pd.read_csv(ROOT / "tests/samples/tickets.csv", dtype="str", keep_default_na=False)
    key = json.loads((ROOT / "tests/samples/answer_key.json").read_text("utf-8"))
    table = rows(*tickets[["ticket_id", "body", "queue"]].itertuples(index=False, name=None))
    config = replace(NEAR, min_chars=2, max_chars=20000, min_label_rows=10)
    decision = decision_on(table, config)
    members = pd.Series([*table["id"]]).groupby(decision.clusters).apply(list)
    assert {tuple(each) for name, each in members.items() if name != ALONE} == {*map(tuple, key["near_copies"])}
    reject_ids = {*table["id"].iloc[decision.rows]}
    assert not {row for pair in key["near_copies"] for row in pair} & reject_ids


PARCELS = ("Where is my parcel? I wait for it.", "Where is my package? I am waiting for it.", "I lost my card")
MEANT = replace(NEAR, near_copies=NearCopies(similarity=0.8, semantic=0.75, keep="all"))


def test_texts_that_say_the_same_in_other_words_are_near_copies_where_asked():
    table = rows(("1", PARCELS[2], "a"), ("2", PARCELS[0], "a"), ("3", "", "a"), ("4", PARCELS[1], "a"))
    assert decision_on(table, MEANT).clusters.tolist() == [ALONE, 1, ALONE, 1]
    assert decision_on(table, NEAR).clusters.tolist() == [ALONE] * 4


def test_a_text_near_in_words_to_one_near_in_meaning_is_in_its_cluster():
    table = rows(*((str(number), text, "a") for number, text in enumerate([*PARCELS[:2], f"{PARCELS[1]} 17"])))
    assert decision_on(table, MEANT).clusters.tolist() == [0, 0, 0]
