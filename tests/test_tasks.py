"""Every table of tasks names the same tasks; where one is added, these tests name the tables that lack it."""

from typing import get_args, get_type_hints

import pytest

from retune.config import params
from retune.data import chat_formats, task_data
from retune.documents import task_texts
from retune.evaluation import task_metrics
from retune.lineage import parent_version
from tasks.curate.row_steps import ROW_STEPS
from tasks.curate.table_steps import TABLE_STEPS
from tasks.validate.expectations import CHECKS

TASKS = set(params.TASKS)
MESSAGES = {task for task, facts in task_data.TASKS.items() if facts.text_is_messages}
STEPS = {*ROW_STEPS, *TABLE_STEPS}
TABLES = {
    "retune.data.task_data.TASKS": (task_data.TASKS, TASKS),
    "retune.data.chat_formats.FORMATS": (chat_formats.FORMATS, MESSAGES),
    "retune.evaluation.task_metrics.TASKS": (task_metrics.TASKS, TASKS),
    "retune.lineage.parent_version.FROM": (parent_version.FROM, MESSAGES),
    "retune.documents.task_texts.PURPOSES": (task_texts.PURPOSES, TASKS),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_tasks_names_every_task(name):
    table, expected = TABLES[name]
    assert set(table) == expected, f"{name} lacks {expected - set(table)}, and knows {set(table) - expected} alone"


@pytest.mark.parametrize("task", params.TASKS)
def test_every_metric_of_the_gate_has_a_title(task):
    section = get_type_hints(params.TASKS[task])["promote"]
    assert set(get_args(get_type_hints(section)["metric"])) <= set(task_metrics.of(task).titles)


@pytest.mark.parametrize("task", params.TASKS)
def test_the_class_of_a_task_is_called_as_the_task_is(task):
    assert params.TASKS[task].__name__.lower() == task


@pytest.mark.parametrize("task", task_data.TASKS)
def test_every_curation_step_of_a_task_exists(task):
    assert [name for name in task_data.of(task).curation if name not in STEPS] == []


def test_every_curation_step_is_of_some_task_or_of_general_examples():
    assert STEPS - {"asked_by_a_record"} == {name for facts in task_data.TASKS.values() for name in facts.curation}


def test_every_check_is_of_some_task_and_every_check_of_a_task_exists():
    assert set(CHECKS) == {name for facts in task_data.TASKS.values() for name in facts.checks}
