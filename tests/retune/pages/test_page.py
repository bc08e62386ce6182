import base64
import hashlib
import re

import pytest
from jinja2 import UndefinedError

from retune.pages.page import render

TEMPLATE = """{% extends "base.html" %}
{% block title %}{{ title }}{% endblock %}
{% block style %}{{ super() }}
.own { color: var(--blue) }
{% endblock %}
{% block scripts %}; script-src 'sha256-{{ self.script() | sha256 }}'{% endblock %}
{% block body %}<p class="own">{{ text }}</p><script>{% block script %}
const own = "1";
{% endblock %}</script>{% endblock %}
"""


@pytest.fixture
def template(tmp_path):
    path = tmp_path / "own.html"
    path.write_text(TEMPLATE, "utf-8")
    return path


def digest(text):
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_the_policy_allows_the_style_and_the_script_of_the_page_by_their_hashes_and_nothing_else(template):
    page = render(template, title="a", text="b")
    style, script = re.search(r"<style>(.*)</style>.*<script>(.*)</script>", page, re.DOTALL).groups()
    assert ".own" in style and "prefers-color-scheme: dark" in style
    assert f"""content="default-src 'none'; style-src 'sha256-{digest(style)}'; img-src data:; """ in page
    assert f"""form-action 'none'; script-src 'sha256-{digest(script)}'">""" in page


def test_the_frame_and_the_look_fetch_nothing(template):
    page = render(template, title="a", text="b")
    for word in ("//", "url(", "@import", "src=", "style="):
        assert word not in page, word
    assert re.findall(r'href="([^"]*)"', page) == ["data:,"]


def test_text_from_outside_is_escaped_and_its_hidden_characters_are_written_out(template):
    page = render(template, title="</title>", text="<b>\u202e\ud800\x00")
    assert "&lt;/title&gt;" in page
    assert "&lt;b&gt;\\u202e\\ud800\\u0000" in page


def test_a_value_that_is_missing_is_an_error(template):
    with pytest.raises(UndefinedError, match="text"):
        render(template, title="a")
