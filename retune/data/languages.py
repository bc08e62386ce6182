"""The language of a text, as a code of ISO 639-1. The door to py3langid.

`python bench/languages.py` says how often it is right, beside lingua.
"""

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from retune.errors import WrongUse

SURE = 0.7  # probability below which a text has no language: it is too short, or of several
READ = 1_000  # characters of a text that are looked at
PLACEHOLDER = re.compile(r"<[A-Z_]+_\d+>")  # of personal data


def of_texts(texts: Iterable[str], languages: tuple[str, ...] = ()) -> list[str]:
    """The code of each text; empty where it is not sure. languages: codes to choose among, none: all that are known.

    Raises WrongUse if one of them is not known.
    """
    identifier = _identifier(languages)
    guesses = (identifier.classify(PLACEHOLDER.sub(" ", text[:READ])) for text in texts)
    return [str(code) if probability >= SURE else "" for code, probability in guesses]


@cache
def _identifier(languages: tuple[str, ...]) -> Any:
    from py3langid import langid

    identifier = langid.LanguageIdentifier.from_modelpath(langid.MODEL_DIR / langid.MODEL_FILE, norm_probs=True)
    if unknown := sorted({*languages} - {*identifier.labels}):
        codes = " ".join(sorted(identifier.labels))
        raise WrongUse(f"curate.languages names {', '.join(unknown)}: the languages that are told apart are {codes}")
    identifier.set_languages(languages or None)
    return identifier
