"""The check that the test split can give the score by which the gate decides, before a model is trained for it."""

from pathlib import Path

from retune.config.params import Params, Prefer
from retune.data import messages, row_table
from retune.errors import Refused


def require(config: Params, test: Path) -> None:
    """Raises Refused where `promote.metric` compares two answers, and no row in the file `test` has two."""
    if not isinstance(config, Prefer) or config.promote.metric != "preferred":
        return
    rows = row_table.read(test)
    if not (rows[["label", row_table.REJECTED]] != messages.NO_ANSWER).all(axis="columns").any():
        raise Refused(
            f"promote.metric is preferred, which compares two answers, and none of the {len(rows)} rows of the test "
            "split has two",
            remedy="set promote.metric to perplexity, which the liked answers have, or bring in more pairs",
        )
