import json
import subprocess
import sys

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu import corpus_bleu, corpus_chrf, sentence_bleu, sentence_chrf

from retune.evaluation import text_metrics

REFERENCES = ["The parcel left us on Monday.", "Your bill is in the account.", "A label is in your mail now."]
PREDICTIONS = ["The parcel left us on Friday.", "Your bill is in the account.", "No."]


def test_each_row_is_scored_as_the_libraries_score_it():
    rows = text_metrics.score_rows(REFERENCES, PREDICTIONS)
    assert set(rows) == set(text_metrics.COLUMNS)
    usual = RougeScorer(["rougeL"])
    for row, (reference, prediction) in enumerate(zip(REFERENCES, PREDICTIONS, strict=True)):
        assert rows["rouge_l"][row] == usual.score(reference, prediction)["rougeL"].fmeasure
        assert rows["bleu"][row] == sentence_bleu(prediction, [reference]).score
        assert rows["chrf"][row] == sentence_chrf(prediction, [reference]).score
    assert rows["exact_match"].tolist() == [0, 1, 0]


def test_words_of_any_script_count():
    rows = text_metrics.score_rows(["το δέμα έφυγε", ""], ["το δέμα έφυγε", ""])
    assert rows["rouge_l"].tolist() == [1, 0]
    assert rows["chrf"].tolist() == [100, 0]


def test_a_vowel_sign_makes_another_word():
    rows = text_metrics.score_rows(["किताब कहाँ है", "ไม่ได้รับ"], ["केतुबो कहाँ है", "ไม้ได้รับ"])
    assert rows["rouge_l"].tolist() == [pytest.approx(2 / 3), 0]


def test_json_is_scored_only_where_there_is_a_schema():
    rows = text_metrics.score_rows(["{}", "[]"], ["{}", "[]"], {"type": "object"})
    assert rows["json_valid"].tolist() == [1, 0]
    assert "json_valid" not in text_metrics.score_rows(["{}"], ["{}"])


@pytest.mark.parametrize(("metric", "of_library"), [("bleu", corpus_bleu), ("chrf", corpus_chrf)])
def test_the_counts_of_any_rows_give_the_score_of_their_corpus(metric, of_library):
    counts = np.array(text_metrics.score_rows(REFERENCES, PREDICTIONS)[text_metrics.COUNTS[metric]].tolist())
    for rows in ([0, 1, 2], [2, 0, 0], [1]):
        texts = [[side[row] for row in rows] for side in (PREDICTIONS, REFERENCES)]
        assert text_metrics.corpus_score(metric, counts[rows]) == of_library(texts[0], [texts[1]]).score


def test_no_row_has_no_counts():
    assert text_metrics.score_rows([], []).empty


def test_the_corpus_scores_are_those_of_the_command_line_of_sacrebleu(tmp_path):
    references = [*REFERENCES, "Ça coûte 3,50 €, n'est-ce pas?", "das Päckchen (Größe 5) ist da", "x"]
    predictions = [*PREDICTIONS, "Cela coûte 3.50 €, n'est-ce pas ?", "Päckchen der Größe 5 ist da", ""]
    for name, lines in (("references", references), ("predictions", predictions)):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), "utf-8")
    command = [sys.executable, "-m", "sacrebleu", "references", "-i", "predictions", "-m", "bleu", "chrf", "-w", "9"]
    report = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    bleu, chrf = (metric["score"] for metric in json.loads(report))
    rows = text_metrics.score_rows(references, predictions)
    for metric, expected in (("bleu", bleu), ("chrf", chrf)):
        counts = np.array(rows[text_metrics.COUNTS[metric]].tolist())
        assert text_metrics.corpus_score(metric, counts) == pytest.approx(expected, abs=1e-8)
        assert rows[metric].mean() != pytest.approx(expected, abs=0.5), "the mean of the rows is another number"
