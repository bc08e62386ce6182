"""Whether a model that writes gives back the answers that it learned, in details.json under `memorisation`."""

import pandas as pd

from retune.config.generation import GenerationEvaluate
from retune.data import messages
from retune.evaluation import row_sample, verbatim
from retune.evaluation.measures import Section
from retune.models import causal_lm, chat_template

NAME = "memorisation"


def section(
    learned_rows: pd.DataFrame, rows: pd.DataFrame, model: causal_lm.CausalLM, evaluate_config: GenerationEvaluate
) -> Section:
    """learned_rows: of the train split; rows: test rows. One forward pass of a row says whether it is given back."""
    config = evaluate_config.memorisation
    learned, held_out = (_answers(table, model, evaluate_config) for table in (learned_rows, rows))
    places = learned.counted(held_out, config.min_tokens)
    counts = {"learned_rows": len(learned.ids), "held_out_rows": len(held_out.ids), "counted_rows": len(places)}
    given_back = [learned.ids[place] for place in places if learned.given_back(place, verbatim.HALF)]
    details = {**counts, "given_back_from_half": given_back[: evaluate_config.examples]}
    measured = verbatim.measures(learned, held_out, config.min_tokens, evaluate_config.confidence)
    return Section(NAME, details, measured)


def _answers(table: pd.DataFrame, model: causal_lm.CausalLM, evaluate_config: GenerationEvaluate) -> verbatim.Answers:
    """Of drawn rows, without those that training cannot have read in full."""
    liked = table[table["label"] != messages.NO_ANSWER]
    drawn = liked[row_sample.drawn(liked["id"], evaluate_config.memorisation.rows, evaluate_config.seed)]
    rendered = [chat_template.render(model.tokenizer, *row) for row in zip(drawn["text"], drawn["label"], strict=True)]
    fits = [len(row.tokens) <= model.manifest.max_tokens for row in rendered]
    examples = [row for row, short in zip(rendered, fits, strict=True) if short]
    reproduced = model.reproduced(examples, evaluate_config.batch_size)
    hits = [
        tokens[len(tokens) - (len(row.tokens) - row.prompt) : -1]
        for row, tokens in zip(examples, reproduced, strict=True)
    ]
    return verbatim.Answers(drawn["id"][fits].tolist(), drawn["label"][fits].tolist(), hits)
