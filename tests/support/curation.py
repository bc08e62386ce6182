"""Tables to curate, and what becomes of their rows."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from retune.config.classification import Curate
from retune.config.common import NearCopies
from retune.config.generation import GenerationCurate
from retune.config.poison import Poison
from retune.data import messages, row_table, suppression, task_data, text_keys
from retune.data.row_table import COLUMNS
from tasks.curate import __main__ as stage
from tasks.curate.first_pass import open_spool
from tasks.curate.report import Tally
from tasks.curate.row_steps import Context
from tasks.curate.table_steps import digests
from tests.support.personal_data import PII

APART = NearCopies(similarity=None, semantic=None, keep="all")
POISON = Poison(phrases="reject", allow=[], max_source_share=1.0)


LENIENT = Curate(
    min_chars=1,
    max_chars=1000,
    min_label_rows=1,
    missing_words=[],
    merge_labels={},
    languages=[],
    near_copies=APART,
    pii=PII,
    poison=POISON,
)


NEAR = replace(LENIENT, near_copies=NearCopies(similarity=0.8, semantic=None, keep="all"))


WRITING = GenerationCurate(
    min_chars=2, max_chars=200, missing_words=[], languages=[], near_copies=APART, pii=PII, poison=POISON
)


FORGOTTEN = suppression.add(suppression.NOTHING, ["1"], "asked", "A. Tester", "2026-11-24T10:00:00Z")


PATHS = tuple(map(Path, ("raw", "suppressed.json", "label_verdicts.json", "curated", "curate.json")))


def rows(*row_tuples):
    """Rows of (id, text, label) or (id, text, label, given)."""
    full = [(*row, "")[:4] for row in row_tuples]
    return pd.DataFrame(
        [(id_, text, label, "", "desk", side) for id_, text, label, side in full], columns=list(COLUMNS)
    ).astype("str")


def curate(
    table, config=LENIENT, listed=suppression.NOTHING, task="classify", batch_rows=stage.BATCH_ROWS, verdicts=None
):
    return stage.curate(table, Context(task_data.of(task), config, listed, verdicts=verdicts or {}), batch_rows)


def curate_general(examples, records, config):
    words = ["\n".join(message["content"] for message in messages.parse(text)) for text in records["text"]]
    keys = text_keys.near(pd.Series([*map(row_table.clean_lines, words)], dtype="str"))
    return stage.curate_general(examples, Context(task_data.of("instruct"), config), digests(keys))


def decision_on(table, config=LENIENT, task="classify"):
    context = Context(task_data.of(task), config)
    with open_spool(None) as spool:
        stream = stage.from_frame(table, context.facts.columns)
        return stage.decide(stream, spool, context, context.facts.curation)[0]


def report(table, config=LENIENT, listed=suppression.NOTHING, task="classify"):
    context = Context(task_data.of(task), config, listed)
    stream, tally = stage.from_frame(table, context.facts.columns), Tally(context.facts)
    with open_spool(None) as spool:

        def watch(part):
            tally.receive(part.cleaned)
            tally.redact(part.cleaned)

        decision, _ = stage.decide(stream, spool, context, context.facts.curation, watch)
        for accepted, rejects in stage.outcome(stream, spool, context, decision):
            tally.sort(accepted, rejects)
    return tally.report()


def outcome(table, params=LENIENT):
    accepted, rejects = curate(table, params)
    return list(accepted["id"]), [tuple(reject) for reject in rejects[["id", "reason", "detail"]].to_numpy()]


def user_message(*contents):
    return messages.dump([{"role": "user", "content": content} for content in contents])


def reply_rows(*some):
    """Rows of (id, prompt, answer), or (id, prompt, answer, given)."""
    return rows(*((id_, user_message(prompt), *rest) for id_, prompt, *rest in some))


def preference_rows(*some):
    """Rows of (id, prompt, chosen, rejected), or (id, prompt, chosen, rejected, given)."""
    table = reply_rows(*((id_, prompt, chosen, *side) for id_, prompt, chosen, _, *side in some))
    return table.assign(rejected=pd.Series([row[3] for row in some], dtype="str"))


def fates(table, task, params=WRITING):
    accepted, rejects = curate(table, params, task=task)
    return list(accepted["id"]), [tuple(reject) for reject in rejects[["id", "reason", "detail"]].to_numpy()]
