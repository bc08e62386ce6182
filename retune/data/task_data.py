"""What the data of each task looks like: columns, labels, curation steps, checks, and what a split keeps together.

    task_data.of("prefer").columns      # (*COLUMNS, "rejected")

Names, not functions: `tasks/curate` defines the steps, `tasks/validate` the checks, and each stage looks up its own by
these names. A new task is one row here and one in each other table of tasks; `tests/test_tasks.py` names the missing
ones.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from retune.data.row_table import COLUMNS, REJECTED, SLICES


@dataclass(frozen=True)
class TaskData:
    columns: tuple[str, ...]  # of a row, in order
    has_labels: bool  # `label` is a class; otherwise an answer
    text_is_messages: bool  # `text` holds messages (`retune.data.messages`); otherwise plain text
    curation: tuple[str, ...]  # steps of curate, in order; the name of a step is the reason of a reject
    checks: tuple[str, ...]  # checks of validate, in order
    split_unit: Literal["row", "prompt"]  # what rows without a group share if they must be in one split

    @property
    def answers(self) -> tuple[str, ...]:
        """The columns of the model's output: the label or answer, and the worse answer of a pair."""
        return tuple(name for name in ("label", REJECTED) if name in self.columns)

    @property
    def has_pairs(self) -> bool:
        """Each row has a better and a worse answer."""
        return REJECTED in self.columns


UNUSABLE = ("no_id", "suppressed", "superseded", "empty", "no_label")
LENGTH_AND_TEST = ("too_short", "too_long", "copy_of_test")
PLANTED = ("suspicious_phrase", "source_quota")
COPIES = ("exact_copy", "near_copy_of_test", "near_copy")
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
            "dropped_by_review",
            "personal_data",
            "out_of_scope",
            *LENGTH_AND_TEST,
            "contradicts_test",
            "contradicts_accepted",
            "conflicting_labels",
            *COPIES,
            *PLANTED,
            "rare_label",
        ),
        checks=(*PRESENT, "id_unique", "given_sides", "label_count", "rows_per_label", *TEXTS, "known_labels"),
        split_unit="row",
    ),
    "instruct": TaskData(
        columns=COLUMNS,
        has_labels=False,
        text_is_messages=True,
        curation=(*UNUSABLE, "personal_data", *LENGTH_AND_TEST, "prompt_of_test", *COPIES, *PLANTED),
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
            "personal_data",
            *LENGTH_AND_TEST,
            "prompt_of_test",
            "contradicts_itself",
            *COPIES,
            *PLANTED,
        ),
        checks=(*PRESENT, "rejected_present", "id_unique", "given_sides", *TEXTS),
        split_unit="prompt",
    ),
}


def of(task: str, columns: Iterable[str] = ()) -> TaskData:
    """The facts of a task, by its name in params.yaml; of rows with these columns, if they may keep slices."""
    facts = TASKS[task]
    return replace(facts, columns=(*facts.columns, SLICES)) if SLICES in columns else facts
