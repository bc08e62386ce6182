"""The pages for people: one frame, one look, and each page one file that needs no network.

A page is a template beside the module that renders it. It begins with `{% extends "base.html" %}` and fills the blocks
`title` and `body`; rules of its own follow `{{ super() }}` in the block `style`. The page's policy forbids the browser
to fetch anything and to run any script, and allows the style sheet by its hash. Text from outside is escaped, and its
hidden characters are written out.
"""

import base64
import hashlib
from pathlib import Path
from typing import Any

from retune.pages.text_formats import as_text, count, in_words, percent, score, visible


def render(template: Path, **values: Any) -> str:
    """The page in HTML; the same values give the same bytes."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        finalize=visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"time": in_words, "count": count, "score": score, "percent": percent, "yaml": as_text}
    environment.filters["sha256"] = _sha256
    return environment.get_template(template.name).render(values)


def _sha256(text: str) -> str:
    """In base64, as a Content-Security-Policy names a style sheet or a script."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
