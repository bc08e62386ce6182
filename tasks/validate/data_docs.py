"""The page of a validation result: what Great Expectations writes of it, in the frame and the look of our pages.

Great Expectations takes style sheets, scripts and pictures from half a dozen sites, so without a network its page is
bare and does not even tell success from failure. Our page takes its text, and leaves those out.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retune.pages.page import render as render_page
from tasks.validate.balance import Table
from tasks.validate.expectations import great_expectations

TEMPLATE = Path(__file__).with_suffix(".html")
OUTSIDE = re.compile(r"<(script|style|footer)\b.*?</\1>|<(link|img)\b[^>]*>| (onclick|style)=\"[^\"]*\"", re.DOTALL)
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def render(result: dict[str, Any], balance: Sequence[Table] = ()) -> str:
    """The page in HTML, the same for the same result: no time, no random ids, no network."""
    great_expectations()
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResultSchema
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView
    from markupsafe import Markup

    # The page shows values of the data unescaped, so a label could run a script in the reader's browser.
    escaped = json.loads(json.dumps({**result, "meta": {}}).replace("<", "&lt;").replace(">", "&gt;"))
    loaded = ExpectationSuiteValidationResultSchema().load(escaped)
    document = ValidationResultsPageRenderer().render(loaded)
    page: str = DefaultJinjaPageView().render(document, show_how_to_buttons=False)
    content = OUTSIDE.sub("", page.partition("<body>")[2].partition("</body>")[0])
    content = re.sub(r'href="(\.\./)+[^"]*\.html', 'href="#', content)  # this page is the whole site
    names: dict[str, str] = {}
    content = UUID.sub(lambda match: names.setdefault(match[0], f"part-{len(names)}"), content)
    return render_page(TEMPLATE, content=Markup(content), balance=balance)
