from types import SimpleNamespace

import pandas as pd
import pytest

from retune.models import chat_template
from retune.preflight import text_audit


def by_words(texts):
    return [2 + len(text.split()) for text in texts]


ROWS = pd.DataFrame({"id": [f"T-{n}" for n in range(8)], "text": ["short words"] * 6 + ["word " * 20, "word " * 30]})


@pytest.mark.parametrize(("share", "success"), [(0.25, True), (0.24, False)])
def test_texts_that_are_cut_are_named_and_refused_above_the_limit(share, success):
    audit = text_audit.audit(ROWS, by_words, 10, SimpleNamespace(max_truncated_share=share))
    (finding,) = audit.findings
    assert finding.success is success
    assert finding.found == "2 of 8 texts are longer, and their ends are cut"
    assert finding.examples == ["T-6", "T-7"]
    assert audit.figures["longer_than_max_tokens"] == 2


def test_a_text_of_just_as_many_tokens_is_whole():
    audit = text_audit.audit(ROWS, by_words, 32, SimpleNamespace(max_truncated_share=0.0))
    assert audit.findings[0].success
    assert audit.findings[0].examples == []


def test_a_row_without_a_text_is_no_long_one():
    rows = pd.DataFrame({"id": ["a", None], "text": ["word", None]})
    assert text_audit.audit(rows, by_words, 10, SimpleNamespace(max_truncated_share=0.0)).findings[0].success


def test_tokens_are_counted_as_training_counts_them(tiny_base):
    texts = ["where is my parcel", "word " * 300, ""]
    expected = [len(ids) for ids in chat_template.load(tiny_base)(texts)["input_ids"]]
    assert text_audit.token_counter(tiny_base)(texts) == expected
