"""Names of people in a text, by a token-classification model that the user gives.

Nothing finds names without one: a name has neither a shape nor a checksum.
"""

from collections.abc import Callable
from typing import Any

from retune.errors import WrongUse
from retune.models import base_model

WINDOW, OVERLAP = 256, 32  # tokens
PERSON = ("PER", "PERSON")  # labels of people; B- and I- may stand before them


def load(name: str) -> Callable[[str], list[tuple[int, int]]]:
    """What finds names in a text: start and end of each. Raises WrongUse if it is no such model."""
    from transformers import AutoModelForTokenClassification, AutoTokenizer
    from transformers.utils import logging

    folder = base_model.find(name)
    logging.set_verbosity_error()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModelForTokenClassification.from_pretrained(folder, local_files_only=True).eval()
    except (OSError, ValueError) as error:
        raise WrongUse(
            f"curate.pii.names_model {name} does not load: {str(error).splitlines()[0]}: name a token-classification"
            " model with its tokenizer"
        ) from None
    people = [number for number, label in model.config.id2label.items() if _is_person(label)]
    if not people:
        labels = ", ".join(map(str, model.config.id2label.values()))
        raise WrongUse(f"curate.pii.names_model {name} has no label PER or PERSON, only {labels}: name another model")
    if not tokenizer.is_fast:
        raise WrongUse(f"curate.pii.names_model {name} has no tokenizer.json, which says where a token stands")
    return lambda text: _names(text, tokenizer, model, people)


def _is_person(label: str) -> bool:
    return label.upper().removeprefix("B-").removeprefix("I-") in PERSON


def _names(text: str, tokenizer: Any, model: Any, people: list[int]) -> list[tuple[int, int]]:
    import torch

    if not text.strip():
        return []
    windows = tokenizer(
        text,
        truncation=True,
        max_length=WINDOW,
        stride=OVERLAP,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding=True,
        return_tensors="pt",
    )
    spans: list[tuple[int, int]] = []
    for tokens, mask, offsets in zip(
        windows["input_ids"], windows["attention_mask"], windows["offset_mapping"], strict=True
    ):
        with torch.inference_mode():
            labels = model(input_ids=tokens[None], attention_mask=mask[None]).logits[0].argmax(-1)
        spans += [
            (start, end)
            for (start, end), label in zip(offsets.tolist(), labels.tolist(), strict=True)
            if end > start and label in people
        ]
    return _joined(text, sorted(set(spans)))


def _joined(text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Whole words; neighbours with a space or nothing between them are one name."""
    names: list[tuple[int, int]] = []
    for start, end in spans:
        while start and text[start - 1].isalnum():
            start -= 1
        while end < len(text) and text[end].isalnum():
            end += 1
        if names and not text[names[-1][1] : start].strip(" .-'"):
            names[-1] = (names[-1][0], max(end, names[-1][1]))
        else:
            names.append((start, end))
    return names
