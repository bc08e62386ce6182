import pytest

from retune.data import languages
from retune.errors import WrongUse

TEXTS = {
    "de": "Mein Konto ist seit gestern gesperrt, bitte helfen Sie mir",
    "en": "My account has been locked since yesterday, please help me",
    "es": "Mi cuenta está bloqueada desde ayer, por favor ayúdenme",
    "fr": "Mon compte est bloqué depuis hier, merci de m'aider",
}


@pytest.mark.parametrize("among", [(), tuple(TEXTS)])
def test_the_language_of_a_sentence_is_told(among):
    assert languages.of_texts(TEXTS.values(), among) == [*TEXTS]


@pytest.mark.parametrize("text", ["", "12 34", "hello", "<EMAIL_1>", "\ud800 \x00", "😀😀😀"])
def test_what_is_too_short_to_be_sure_has_none(text):
    assert languages.of_texts([text]) == [""]


def test_placeholders_of_personal_data_do_not_count():
    text = "Bitte <EMAIL_1> sperren, <NATIONAL_ID_1> ist falsch und <DATE_OF_BIRTH_2> auch"
    assert languages.of_texts([text], ("de", "en")) == ["de"]


def test_a_language_that_is_not_known_is_refused_by_name():
    with pytest.raises(WrongUse, match=r"curate\.languages names xx: the languages that are told apart are ace af"):
        languages.of_texts(["a text"], ("en", "xx"))


def test_a_huge_text_is_told_by_its_beginning():
    assert languages.of_texts([TEXTS["fr"] + " Merci de votre aide." * 500_000]) == ["fr"]
