"""Which answers of a model that writes are right, by the measure that `evaluate.automation` names.

exact     the words of the reference
schema    JSON of evaluate.json_schema
judge     the judge finds it at least as good as the reference, asked in both orders. Against the answer of the base,
          as for the report, it would only say that the model learned something
"""

import pandas as pd

from retune.config.generation import GenerationEvaluate
from retune.errors import WrongUse
from retune.evaluation import json_validity, judge_endpoint, llm_judge, statistics, text_metrics


def require(config: GenerationEvaluate) -> None:
    """Raises WrongUse where the measure needs a judge or a schema that params do not name, or cannot be read."""
    schema, measure = json_validity.read_schema(config.json_schema), config.automation.measure
    if measure == "schema" and schema is None:
        raise WrongUse(
            "evaluate.automation.measure is schema, and evaluate.json_schema is empty",
            remedy="name the file of a JSON schema there, or choose another measure",
        )
    if measure == "judge" and not config.judge.url:
        raise WrongUse(
            "evaluate.automation.measure is judge, and evaluate.judge.url is empty",
            remedy="name a judge there, or choose another measure",
        )


def are_right(answers: pd.DataFrame, config: GenerationEvaluate) -> list[bool]:
    """[rows] answers: id, prompt, reference and predicted, all in words. A judge may say something else another day."""
    measure, predicted = config.automation.measure, answers["predicted"].tolist()
    if measure == "exact":
        return [text_metrics.is_exact_match(*pair) for pair in zip(answers["reference"], predicted, strict=True)]
    if measure == "schema":
        return json_validity.matches_schema(predicted, json_validity.read_schema(config.json_schema) or {})
    pairs = answers.rename(columns={"predicted": "ours", "reference": "theirs"})
    with judge_endpoint.connect(config.judge, lambda message: print(message, flush=True)) as ask:
        verdicts = llm_judge.judge_pairs(pairs, ask, config.judge.criterion)
    return verdicts["said"].isin([statistics.OURS, statistics.ALIKE]).tolist()
