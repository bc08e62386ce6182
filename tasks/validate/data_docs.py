"""The page of a validation result: Great Expectations' own, dressed by `data_docs.css`.

Great Expectations dresses its page with style sheets, scripts and pictures from half a dozen sites, so without a
network it is bare and does not even tell success from failure. Our style sheet stands in for them, and the page's
policy lets nothing run.
"""

import json
import re
from pathlib import Path
from typing import Any

from tasks.validate.expectations import great_expectations

STYLE = Path(__file__).with_suffix(".css")
OUTSIDE = re.compile(r"<(script|style|footer|title)\b.*?</\1>|<(link|img)\b[^>]*>| onclick=\"[^\"]*\"", re.DOTALL)
HEAD = """<title>Data docs</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
{style}</style>"""
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def render(result: dict[str, Any]) -> str:
    """The page in HTML, the same for the same result: no time, no random ids, no network."""
    great_expectations()
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResultSchema
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    # The page shows values of the data unescaped, so a label could run a script in the reader's browser.
    escaped = json.loads(json.dumps({**result, "meta": {}}).replace("<", "&lt;").replace(">", "&gt;"))
    loaded = ExpectationSuiteValidationResultSchema().load(escaped)
    document = ValidationResultsPageRenderer().render(loaded)
    page: str = DefaultJinjaPageView().render(document, show_how_to_buttons=False)
    head = HEAD.format(style=STYLE.read_text("utf-8"))
    page = OUTSIDE.sub("", page).replace("</head>", f"{head}</head>", 1)
    page = re.sub(r'href="(\.\./)+[^"]*\.html', 'href="#', page)  # this page is the whole site
    names: dict[str, str] = {}
    return UUID.sub(lambda match: names.setdefault(match[0], f"part-{len(names)}"), page)
