"""Every parameter says what it means, so that the reference, the editor and `retune params explain` can say it."""

from dataclasses import fields, is_dataclass
from typing import get_args, get_type_hints

import pytest

from retune.config import params


def sections(kind):
    """A type and every section below it, also those in lists and unions."""
    if isinstance(kind, type) and is_dataclass(kind):
        yield kind
        for hint in get_type_hints(kind).values():
            yield from sections(hint)
    for part in get_args(kind):
        yield from sections(part)


SECTIONS = {each.__name__: each for task in params.TASKS.values() for each in sections(task)}


@pytest.mark.parametrize("name", SECTIONS)
def test_every_field_has_a_description_in_plain_words(name):
    described = SECTIONS[name].__pydantic_fields__
    assert set(described) == {each.name for each in fields(SECTIONS[name])}
    for key, field in described.items():
        text = field.description or ""
        assert len(text.split()) >= 2 and text[0].isalnum() and text.endswith((".", "?")), f"{name}.{key}: {text!r}"


def test_a_number_of_a_unit_names_it():
    units = {
        "seconds": "second",
        "days": "day",
        "megabytes": "megabyte",
        "watts": "watt",
        "tokens": "token",
        "chars": "character",
    }
    for name, kind in SECTIONS.items():
        for key, field in kind.__pydantic_fields__.items():
            unit = units.get(key.rpartition("_")[2])
            assert not unit or unit in (field.description or "").lower(), f"{name}.{key} does not name its unit"


def test_the_lists_of_sections_are_reached():
    assert {"DatabaseSource", "ReplayFile", "RetentionSet", "DecoderLora", "Classify", "Prefer"} <= set(SECTIONS)
