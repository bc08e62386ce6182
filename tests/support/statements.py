"""How tests read the statements about a version."""


def named(parts):
    return {part["name"]: part for part in parts}


def values(properties):
    return {each["name"]: each["value"] for each in properties}


def every(part, key):
    """Every value of `key` anywhere in a document."""
    if isinstance(part, dict):
        yield from ([part[key]] if key in part else [])
        part = list(part.values())
    for inner in part if isinstance(part, list) else []:
        yield from every(inner, key)
