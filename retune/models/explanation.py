"""Which words of a text carried its label: the probability that is lost when a word is left out.

Occlusion (Zeiler & Fergus 2014, Visualizing and Understanding Convolutional Networks, section 4.2), of words as in Li,
Monroe & Jurafsky 2016, Understanding Neural Networks through Representation Erasure. It asks the model itself, so it
holds for any network. It takes out one word at a time: where two words say the same, neither is missed.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from retune.data.text_keys import UNSPACED
from retune.models.classifier import Classifier, logits_of

WORD = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")


@dataclass(frozen=True)
class WordWeight:
    word: str
    place: int  # of its first character in the text
    loss: float  # of the label's probability without the word; below zero: the word spoke against the label


def word_weights(text: str, probability: Callable[[list[str]], np.ndarray], most: int) -> list[WordWeight]:
    """The first `most` words of a text, those that carried its label first.

    probability: [texts] of the label that the text has, asked once for all.
    """
    words = list(WORD.finditer(text))[:most]
    without = [" ".join((text[: word.start()] + " " + text[word.end() :]).split()) for word in words]
    whole, *shares = probability([text, *without]).tolist()
    weights = [WordWeight(word[0], word.start(), whole - share) for word, share in zip(words, shares, strict=True)]
    return sorted(weights, key=lambda weight: (-weight.loss, weight.place))


def of_classifier(model: Classifier, text: str, label: str) -> list[WordWeight]:
    """The words of a text that the model reads, for its label."""
    column = model.manifest.labels.index(label)

    def probability(texts: list[str]) -> np.ndarray:
        logits = logits_of(model.embed(texts), model.head)
        shares: np.ndarray = (logits / model.manifest.temperature).softmax(-1)[:, column].numpy()
        return shares

    return word_weights(text, probability, model.manifest.max_tokens)
