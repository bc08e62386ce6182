"""The check of a classifier's texts before training: how many are longer than what it reads of them.

What decides often stands at the end, and a classifier never sees what is cut. Names rows by their ids. Adapter of
tokenizers, which counts as transformers does, without the seconds that it takes to import that.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from retune.data.finding import Finding
from retune.models import base_model, chat_template
from retune.preflight.token_audit import Audit, BaseName, spread

BATCH = 1000  # texts
EXAMPLES = 5  # row ids that a finding names


Count = Callable[[list[str]], list[int]]  # tokens of each text, with those that the tokenizer adds


class Training(Protocol):
    @property
    def base(self) -> BaseName: ...
    @property
    def max_tokens(self) -> int: ...


class Limits(Protocol):
    @property
    def max_truncated_share(self) -> float: ...


def of_base(rows: pd.DataFrame, training: Training, limits: Limits) -> Audit:
    """Check rows with the base's tokenizer."""
    return audit(rows, token_counter(base_model.find(training.base.name)), training.max_tokens, limits)


def token_counter(folder: Path) -> Count:
    """What counts the tokens of texts with the tokenizer in `folder`."""
    if not (folder / "tokenizer.json").is_file():
        slow = chat_template.load(folder)
        return lambda texts: [len(ids) for ids in slow(texts, verbose=False)["input_ids"]]
    from tokenizers import Tokenizer

    fast = Tokenizer.from_file(str(folder / "tokenizer.json"))
    fast.no_truncation()
    fast.no_padding()
    return lambda texts: [len(encoding.ids) for encoding in fast.encode_batch(texts)]


def audit(rows: pd.DataFrame, count: Count, max_tokens: int, limits: Limits) -> Audit:
    """Count the tokens of every text. The finding names rows also where it is within the limit."""
    texts = rows["text"].fillna("").tolist()
    batches = (texts[start : start + BATCH] for start in range(0, len(texts), BATCH))
    lengths = np.array([tokens for batch in batches for tokens in count(batch)], dtype=np.int64)
    ids = rows.loc[lengths > max_tokens, "id"].fillna("").tolist()
    finding = Finding(
        "truncated",
        f"at most {limits.max_truncated_share:.4g} of the texts longer than train.max_tokens, {max_tokens}"
        " (validate.max_truncated_share; raise train.max_tokens, up to what the base reads, where the ends matter)",
        f"{len(ids)} of {len(texts)} texts are longer, and their ends are cut",
        len(ids) <= limits.max_truncated_share * len(texts),
        ids[:EXAMPLES],
    )
    figures = {
        "rows": len(texts),
        "max_tokens": max_tokens,
        "tokens": {"whole": spread(lengths)},
        "longer_than_max_tokens": len(ids),
    }
    return Audit([finding], figures, {"whole": lengths})
