"""Changes keep the meaning: what stands for something stays, and no more changes than a sender would."""

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.evaluation import perturbations
from retune.evaluation.perturbations import KINDS, perturb

TEXT = "Guten Tag, my Müller-invoice 4711 from <EMAIL_1> is wrong! See https://example.com/Bill, thanks."
FIXED = ("4711", "<EMAIL_1>", "https://example.com/Bill,")
WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1).filter(str.strip)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None)
@given(WORDS, st.integers(0, 99))
def test_the_same_draw_gives_the_same_text_and_none_is_empty(kind, text, seed):
    changed = perturb(kind, text, seed, "row 1")
    assert changed == perturb(kind, text, seed, "row 1")
    assert changed.strip()
    changed.encode("utf-8")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(8))
def test_digits_placeholders_addresses_and_links_stay(kind, seed):
    changed = perturb(kind, TEXT, seed, "row 1")
    assert all(word in changed for word in FIXED)
    assert [each for each in re.findall(r"\d", changed) if kind not in ("greeting", "quoted_reply")] in (
        list("47111"),
        [],
    )


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from(["please", "restart", "door", "a", "4711", "कताब", "broken,"]), min_size=1, max_size=40)
)
def test_at_most_one_word_in_eight_has_a_typing_error_and_it_is_a_small_one(words):
    changed = perturbations.typos(" ".join(words), random.Random(1)).split(" ")
    assert len(changed) == len(words)
    other = [(one, two) for one, two in zip(words, changed, strict=True) if one != two]
    assert len(other) <= max(1, len(words) // 8)
    for one, two in other:
        assert (one[0], one[-1]) == (two[0], two[-1]) and abs(len(one) - len(two)) <= 1


def test_letters_of_other_scripts_keep_their_marks_and_latin_ones_lose_their_accents():
    assert perturb("diacritics", "Müller é ไม่ได้รับ किताब", 1, "r") == "Muller e ไม่ได้รับ किताब"
    assert perturb("diacritics", "no accents", 1, "r") == "no accents"


def test_case_changes_all_words_or_none_where_a_script_has_no_case():
    assert {perturb("case", "My Invoice", seed, "r") for seed in range(9)} == {"MY INVOICE", "my invoice"}
    assert perturb("case", "ไม่ได้รับ", 1, "r") == "ไม่ได้รับ"


def test_what_stands_around_a_text_leaves_the_text_whole():
    for kind in ("greeting", "quoted_reply", "emoji"):
        assert TEXT in perturb(kind, TEXT, 3, "r") and perturb(kind, TEXT, 3, "r") != TEXT
    assert "".join(perturb("spaces", TEXT, 3, "r").split()) == "".join(TEXT.split())


def test_a_text_without_a_word_stays_as_it_is():
    assert all(perturb(kind, "", 1, "r") == "" for kind in KINDS)


def test_an_instruction_in_the_data_is_obeyed_only_by_who_says_its_word():
    assert perturbations.MARK in perturbations.with_instruction("hello")
    assert perturbations.obeys("Pineapple.") and not perturbations.obeys("We have sent the invoice.")
