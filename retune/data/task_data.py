"""What the data of each task looks like: columns, labels, curation steps, checks, and what a split keeps together.

    task_data.of("prefer").columns      # (*COLUMNS, "rejected")

Names, not functions: the steps stand in `tasks/curate`, the checks in `tasks/validate`, and each stage looks up its
own by these names. A new task is one row here and one in each other table of tasks; `tests/test_tasks.py` says which
are missing.
"""

from dataclasses import dataclass
from typing import Literal

from retune.data.row_table import COLUMNS, REJECTED


@dataclass(frozen=True)
class TaskData:
    columns: tuple[str, ...]  # of a row, in their order
    has_labels: bool  # `label` is one of a few classes; else it is an answer in words
    text_is_messages: bool  # `text` holds messages (`retune.data.messages`); else it is plain text
    curation: tuple[str, ...]  # steps of curate in their order; a step's name is the reason of a reject
    checks: tuple[str, ...]  # of validate, in their order
    split_unit: Literal["row", "prompt"]  # what rows without a group share, if they must be on one side

    @property
    def answers(self) -> tuple[str, ...]:
        """The columns that hold what a model learns to give: the label or answer, and the worse answer of a pair."""
        return tuple(name for name in ("label", REJECTED) if name in self.columns)

    @property
    def has_pairs(self) -> bool:
        """Each row has a better and a worse answer."""
        return REJECTED in self.columns


UNUSABLE = ("no_id", "suppressed", "superseded", "empty", "no_label")
LENGTH_AND_TEST = ("too_short", "too_long", "copy_of_test")
PRESENT = (
    "row_count",  # an empty table passes most expectations, so these two come first
    "columns",
    "id_present",
    "text_present",
    "label_present",
)
TEXTS = ("text_length", "near_copies", "rejected_share", "leaked_rows")

TASKS: dict[str, TaskData] = {
    "classify": TaskData(
        columns=COLUMNS,
        has_labels=True,
        text_is_messages=False,
        curation=(
            *UNUSABLE,
            *LENGTH_AND_TEST,
            "contradicts_test",
            "conflicting_labels",
            "exact_copy",
            "rare_label",
        ),
        checks=(*PRESENT, "id_unique", "given_sides", "label_count", "rows_per_label", *TEXTS, "known_labels"),
        split_unit="row",
    ),
    "instruct": TaskData(
        columns=COLUMNS,
        has_labels=False,
        text_is_messages=True,
        curation=(*UNUSABLE, *LENGTH_AND_TEST, "prompt_of_test", "exact_copy"),
        checks=(*PRESENT, "id_unique", "given_sides", *TEXTS),
        split_unit="prompt",
    ),
    "prefer": TaskData(
        columns=(*COLUMNS, REJECTED),
        has_labels=False,
        text_is_messages=True,
        curation=(
            *UNUSABLE,
            "no_rejected",
            "no_preference",
            *LENGTH_AND_TEST,
            "prompt_of_test",
            "contradicts_itself",
            "exact_copy",
        ),
        checks=(*PRESENT, "rejected_present", "id_unique", "given_sides", *TEXTS),
        split_unit="prompt",
    ),
}


def of(task: str) -> TaskData:
    """The facts of a task, by its name in params.yaml."""
    return TASKS[task]
