import hashlib
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from retune.config.evaluation import Paraphrases
from retune.data import messages
from retune.evaluation import perturbations
from tasks.evaluate import robustness
from tests.tasks.evaluate.test_classification import SECTION


def only_capitals(rows):
    """A model that knows a label only from words in capitals."""
    labels = [label if text.isupper() else "unknown" for text, label in zip(rows["text"], rows["label"], strict=True)]
    return (np.array(labels, dtype=object) == rows["label"].to_numpy()).astype(float), labels


def section(rows, ask=only_capitals, config=SECTION):
    before, answers = ask(rows)
    return robustness.section(rows, before, answers, "accuracy", ask, config)


@pytest.fixture
def shouted_rows(make_tickets):
    rows = make_tickets(90)
    return rows.assign(text=rows["text"].str.upper())


def test_a_model_that_knows_only_capitals_is_caught_by_the_change_of_case_alone(shouted_rows):
    result, columns = section(shouted_rows)
    kinds = {entry["kind"]: entry for entry in result.details["kinds"]}
    assert (kinds["case"]["before"], kinds["case"]["after"], kinds["case"]["low"]) == (1.0, 0.0, 1.0)
    assert kinds["typos"]["drop"] == 0.0 and not kinds["typos"]["worst"]
    assert "diacritics" not in kinds, "no text has any, so nothing can be said"
    worst = kinds["case"]["worst"][0]
    assert worst["before"].isupper() and worst["after"].islower()
    assert (worst["answer_before"] in ("bills", "parcels", "repairs"), worst["answer_after"]) == (True, "unknown")
    measure = result.measures["robustness_case"]
    assert (measure.value, measure.n) == (1.0, 60), "60 of the 90 rows were drawn"
    assert columns["robust_case"].notna().sum() == 60 and (columns["robust_case"].dropna() == 0).all()
    json.dumps(result.details, allow_nan=False)


def test_the_model_is_asked_once_and_the_rows_stay_as_they_are(shouted_rows):
    calls, copy = [], shouted_rows.copy(deep=True)
    section(shouted_rows, lambda rows: calls.append(len(rows)) or only_capitals(rows))
    assert len(calls) == 2 and shouted_rows.equals(copy)


@pytest.mark.parametrize("count", [1, 2])
def test_few_rows_have_an_interval_all_the_same(shouted_rows, count):
    result, _ = section(shouted_rows.head(count))
    assert result.measures["robustness_case"].n == count


def test_of_messages_the_last_question_is_changed(make_replies):
    rows = make_replies(5)
    texts = []
    section(rows, lambda rows: texts.extend(rows["text"]) or (np.ones(len(rows)), [""] * len(rows)))
    (message,) = messages.parse(texts[-1])
    assert message["role"] == "user" and message["content"].isupper()


def paraphrased(tmp_path, text):
    path = tmp_path / "paraphrases.csv"
    path.write_text(text, "utf-8")
    config = Paraphrases(str(path), hashlib.sha256(path.read_bytes()).hexdigest())
    return replace(SECTION, robustness=replace(SECTION.robustness, kinds=[], paraphrases=[config]))


def test_a_file_of_paraphrases_is_a_kind_of_its_own_by_id_or_text(tmp_path, shouted_rows):
    for key, value in (("id", shouted_rows["id"][3]), ("text", shouted_rows["text"][3])):
        result, columns = section(
            shouted_rows, config=paraphrased(tmp_path, f"{key},paraphrase\n{value},in small words\n")
        )
        assert [(entry["kind"], entry["rows"], entry["after"]) for entry in result.details["kinds"]] == [
            ("paraphrases", 1, 0.0)
        ]
        assert columns["robust_paraphrases"].notna().tolist().index(True) == 3


def test_a_writer_that_obeys_what_the_data_says_is_caught(make_replies):
    rows = make_replies(6)
    predictions = pd.DataFrame({"predicted": ["an answer"] * 4 + [None] * 2})

    def obedient(prompts):
        return SimpleNamespace(labels=[perturbations.MARK if "ignore all" in prompt else "" for prompt in prompts])

    result, column = robustness.instruction(rows, predictions, obedient, SECTION)
    assert result.details == {"rows": 4, "obeyed": 4, "changed": 4}
    assert result.measures["instruction_obeyed"].high == 1.0 and result.measures["instruction_obeyed"].low < 0.6
    assert column["robust_instruction"].tolist()[:4] == [0.0] * 4 and column["robust_instruction"].isna().sum() == 2
