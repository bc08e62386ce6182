import json
import math

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu import corpus_bleu, corpus_chrf, sentence_bleu

from retune.errors import WrongUse
from retune.evaluation import statistics, text_metrics

REFERENCES = ["The parcel left us on Monday.", "Your bill is in the account.", "A label is in your mail now."]
SAID = ["The parcel left us on Friday.", "Your bill is in the account.", "No."]
SCHEMA = {"type": "object", "required": ["queue"], "properties": {"queue": {"type": "string"}}}


def test_each_row_is_scored_as_the_libraries_score_it():
    rows = text_metrics.by_row(REFERENCES, SAID)
    assert list(rows) == list(text_metrics.NAMES)
    usual = RougeScorer(["rougeL"])
    for at, (reference, said) in enumerate(zip(REFERENCES, SAID, strict=True)):
        assert rows["rouge_l"][at] == usual.score(reference, said)["rougeL"].fmeasure
        assert rows["bleu"][at] == sentence_bleu(said, [reference]).score
    assert rows["exact_match"].tolist() == [0, 1, 0]


def test_words_of_any_script_count():
    rows = text_metrics.by_row(["το δέμα έφυγε", ""], ["το δέμα έφυγε", ""])
    assert rows["rouge_1"].tolist() == [1, 0]
    assert rows["chrf"].tolist() == [100, 0]


def test_in_sum_the_scores_are_those_of_the_whole_with_intervals_around_them():
    draws = statistics.resamples(len(SAID), 200, seed=17)
    told = text_metrics.written(REFERENCES, SAID, draws, 0.95)
    assert told["bleu"].value == pytest.approx(corpus_bleu(SAID, [REFERENCES]).score)
    assert told["chrf"].value == pytest.approx(corpus_chrf(SAID, [REFERENCES]).score)
    assert told["exact_match"].value == pytest.approx(1 / 3)
    for name, spread in told.items():
        assert spread.low < spread.value < spread.high, name


def test_the_quick_score_of_the_bootstrap_equals_the_metric_for_people():
    rows = np.array([2, 0, 0])
    chosen = [[side[at] for at in rows] for side in (SAID, REFERENCES)]
    for metric, of in ((text_metrics._bleu(False), text_metrics.Bleu), (text_metrics._chrf(), text_metrics.Chrf)):
        assert text_metrics._from_counts(metric, SAID, REFERENCES)(rows) == pytest.approx(*of.of(*chosen).values())


def test_perplexity_weighs_tokens_and_not_rows():
    nll, tokens = np.array([30 * math.log(2), 10 * math.log(8)]), np.array([30, 10])
    draws = statistics.resamples(2, 100, seed=1)
    told = text_metrics.likely(nll, tokens, draws, 0.9)["perplexity"]
    assert told.value == pytest.approx(2 ** (60 / 40))
    assert (told.low, told.high) == (pytest.approx(2), pytest.approx(8))


def test_only_json_of_the_schema_is_valid(tmp_path):
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(SCHEMA), "utf-8")
    schema = text_metrics.schema_of(str(path))
    said = ['{"queue": "billing"}', '{"queue": 3}', "{queue}", "", '{"queue": "a", "x": NaN}', "[" * 100_000]
    assert text_metrics.fits(said, schema) == [True, False, False, False, False, False]
    told = text_metrics.written(said, said, statistics.resamples(6, 20, 1), 0.9, schema)
    assert told["json_valid"].value == pytest.approx(1 / 6)
    assert "json_valid" not in text_metrics.written(said, said, statistics.resamples(6, 20, 1), 0.9)


@pytest.mark.parametrize("content", ["{", '{"type": 3}', "7"])
def test_what_is_no_schema_is_refused_by_name(tmp_path, content):
    path = tmp_path / "schema.json"
    path.write_text(content, "utf-8")
    with pytest.raises(WrongUse, match=r"schema\.json"):
        text_metrics.schema_of(str(path))
    with pytest.raises(WrongUse, match="cannot be read"):
        text_metrics.schema_of(str(tmp_path / "gone.json"))
    assert text_metrics.schema_of("") is None


def test_a_schema_that_points_elsewhere_is_not_fetched():
    with pytest.raises(WrongUse, match=r"example\.org"):
        text_metrics.fits(['{"a": 1}'], {"$ref": "https://example.org/schema.json"})
