"""Parameters that have a new name or are new, and how to read values that still have the old one.

Commands refuse a params.yaml with old names; `retune params migrate` rewrites it. The record of a registered version
keeps the names of its time, so code that reads a record's parameters calls `upgrade` first.
"""

import re
from typing import Any

from retune.errors import WrongUse

KEYS = {  # dotted path -> dotted path; every key below an old path moves with it
    "decide": "trigger",
    "measure": "latency",
    "curate.general": "curate.replay",
    "validate.audit": "validate.preflight",
    "train.general_share": "train.replay_share",
    "train.incremental.old_share": "train.incremental.replay_share",
    "train.lora.frozen": "train.lora.base_precision",
    "evaluate.general": "evaluate.retention",
    "register.probe_rows": "register.reload_rows",
    "promote.difference": "promote.min_detectable_gain",
    "promote.worst_label_loss": "promote.max_label_recall_loss",
    "promote.worst_slice_loss": "promote.max_slice_loss",
    "promote.general_loss": "promote.max_retention_loss",
}
PII = """\
pii:                      # personal and secret data, in texts and answers: redact | hash | drop | keep
  email: redact
  phone: redact
  card: redact
  iban: redact
  national_id: redact     # of US, UK, DE, FR, ES, IT, NL, PL, BR and IN
  ip: redact
  mac: redact
  url_credentials: redact
  secret: redact          # API keys, tokens and passwords
  date_of_birth: redact
  address: redact         # with a street and a number
  name: redact            # found only by names_model
  keep: []                # values that stay: [support@example.com]
  phone_regions: [US, GB, DE, FR, ES, IT, NL, PL, BR, IN]  # whose numbers count without a + or a word such as call
  secret_env: null        # environment variable of the secret that keys the hashes
  names_model: null       # a token-classification model, folder:/... or hub:<name>@<revision>; null: no names"""
POISON = """\
poison:                   # rows that look planted
  phrases: reject         # reject | keep: a rare phrase that goes with one label against all other words of its rows
  allow: []               # innocent phrases, as a reject names them: [kindly proceed]
  max_source_share: 1.0   # of the rows, that one source may have; 1.0 allows any"""
NEAR_COPIES = """\
near_copies:              # texts that differ in a few words, a number or a placeholder: one side of the split
  similarity: null        # 0.8 joins them, and moves rows to other sides; null: none, as it was
  semantic: null          # cosine of the vectors of two texts, above which they are near-copies too; null: none
  keep: all               # all | one: of near-copies with one label or answer, the first that arrived"""
GOLDEN = """\
golden:                   # cases that must never go wrong; `retune golden add` writes the file and its hash
  path: tests/golden.csv  # text, and a label, regex, schema or not_contains; empty: none
  sha256: 8dbcd2821b364e0df6874635459cd0b993caa6c878e166372ec996ebd0bcc1b4"""
AUTOMATION = """\
automation:               # what the model may do alone
  precision: 0.98         # promised share of right answers among those that nobody reads; null: a person reads all
  confidence: 0.95        # with which the promise holds
  by_label: true          # labels with enough validation rows have a threshold and a promise of their own
  out_of_scope:           # texts of none of the labels: how many of them would nobody read?
    path: ""              # CSV file in the project with a column text; empty: none
    sha256: ""            # of that file"""
SLICE_SEARCH = """\
slice_search:             # parts of the test rows on which the model is surely worse than on the rest
  rows: 5000              # to search, drawn by the hash of their ids
  min_rows: 20            # of a slice
  permutations: 1000      # which say how bad the worst of all slices is by chance"""
MEMORISATION = """\
memorisation:             # whether the model gives away which rows it learned from
  rows: 200               # of the rows that it learned from, and of the test rows"""
GENERATION_AUTOMATION = """\
automation:               # what the model may send without a person
  measure: null           # exact | schema | judge: which answers are right; null: a person reads everything
  precision: 0.9          # promised share of right answers among those that nobody reads
  confidence: 0.95        # with which the promise holds
  rows: 128               # validation rows to choose the threshold on; each costs an answer"""
VERBATIM = """\
memorisation:             # whether the model gives back word for word what it learned
  rows: 200               # of the rows that it learned from, and of the test rows
  min_tokens: 20          # of an answer; anyone may write a shorter one"""
ROBUSTNESS = """\
robustness:               # the same rows with changes that keep the meaning
  rows: 60                # drawn by the hash of their ids
  kinds: [typos, case, spaces, punctuation, diacritics, greeting, quoted_reply, emoji]
  paraphrases: []         # test rows in other words: [{path: /..., sha256: ...}]"""
SERVE_LOG = """\
log:                      # what is kept of requests, in .retune/serving.db or RETUNE_SERVING_DATABASE
  text: redacted          # redacted (by curate.pii) | hashed | full | none
  days: 30                # for which a row is kept
  queue: 10000            # texts that may wait to be written; further ones are dropped and counted"""
SERVE_WRITING = """\
writing:                  # versions that write: in this process, or behind servers that speak OpenAI's API
  batch_texts: 8          # written at once, of one version
  queue_texts: 64         # waiting; a request beyond them is refused with 503 and Retry-After
  deadline_seconds: 120.0 # for a text; one that takes longer gets 504
  upstreams: []           # servers that hold versions: see docs/how-to/serve/models-that-write.md; empty: none"""
BREAKER = """\
breaker:                  # when an arm that fails is left alone
  failures: 5             # in a row
  rate: 0.5               # or this share of the last ones
  window: 50              # of how many
  open_seconds: 10.0      # then one request tries it again"""
# Dotted path of a parameter or section that files of an earlier release lack -> its lines in params.yaml, in the order
# of the file.
ADDED = {
    "validate.max_truncated_share": "max_truncated_share: 0.5  "
    "# of the texts longer than train.max_tokens, whose ends are cut",
    "ingest.max_unreadable_share": "max_unreadable_share: 0.1 # of a source's rows; with more, nothing of it comes in",
    "curate.missing_words": 'missing_words: []         # words that count as an empty cell: [nan, "NULL"]',
    "curate.merge_labels": "merge_labels: {}          # label in the data: label that it becomes, {Spam.: spam}",
    "curate.languages": "languages: []             # told apart as the slice `language`, such as [de, en, fr]; "
    "empty: none",
    "curate.near_copies": NEAR_COPIES,
    "curate.pii": PII,
    "curate.poison": POISON,
    "split.max_group_share": "max_group_share: 0.20     # of all rows, that one group may hold; 1.0 allows any",
    "split.large_groups": "large_groups: []          # groups that may hold more, or are named like a missing value",
    "train.stored_vectors": "stored_vectors: 20000     "
    "# rows learned from whose vectors a version keeps, for `retune predict --explain`",
    "train.turns": "turns: last               # all | last: the answers of a conversation that are learned; as it was",
    "evaluate.golden": GOLDEN,
    "evaluate.automation": AUTOMATION,
    "evaluate.slice_search": SLICE_SEARCH,
    "evaluate.robustness": ROBUSTNESS,
    "evaluate.memorisation": MEMORISATION,
    "promote.max_robustness_loss": "max_robustness_loss: 1.0  # largest loss against the champion on rows that "
    "evaluate.robustness changes; 1.0 allows any",
    "promote.max_membership_auc": "max_membership_auc: 1.0   # largest AUC of telling rows learned from others, beyond "
    "chance; 1.0 allows any",
    "serve.batch_tokens": "batch_tokens: 1024        # that an encoder reads at once, with padding",
    "serve.wait_ms": "wait_ms: 1.0              # for further texts, when an encoder is idle",
    "serve.queue_texts": "queue_texts: 512          # waiting; a request beyond them is refused with 503 and "
    "Retry-After",
    "serve.deadline_seconds": "deadline_seconds: 10.0    # for a request; one without an answer by then gets 504",
    "serve.max_texts": "max_texts: 64             # of a request",
    "serve.max_chars": "max_chars: 20000          # of a text",
    "serve.max_megabytes": "max_megabytes: 2.0        # of a request",
    "serve.requests_per_minute": "requests_per_minute: 0    # of an API key, or of an address without one; "
    "0 allows any number",
    "serve.cache_texts": "cache_texts: 10000        # whose answers are kept for when they come again; 0: none",
    "serve.follow_seconds": "follow_seconds: 5.0       # between two looks at the alias: a version that it names anew "
    "takes over; 0: never",
    "serve.log": SERVE_LOG,
    "serve.writing": SERVE_WRITING,
    "rollout.steps": "steps: [shadow, 1, 5, 25, 50, 100]  # shadow: it answers for nobody; then percentages of the "
    "subjects",
    "rollout.metric": "metric: error             # error | corrected | rating | latency",
    "rollout.confidence": "confidence: 0.95          # a challenger that is no worse is rolled back in at most the "
    "rest of all rollouts",
    "rollout.max_error_ratio": "max_error_ratio: 1.5      # odds of an error or a correction, that the last step needs "
    "proof to be below",
    "rollout.negligible_error_rate": "negligible_error_rate: 0.01  # or proof that the share of errors is below this",
    "rollout.max_latency_ratio": "max_latency_ratio: 1.2    # the same of the typical latency",
    "rollout.max_rating_loss": "max_rating_loss: 0.2      # the same of the mean rating, in its own unit",
    "rollout.min_requests": "min_requests: 200         # answers of the challenger in a step",
    "rollout.min_minutes": "min_minutes: 10.0         # that a step lasts at least",
    "rollout.look_seconds": "look_seconds: 10.0        # between two looks of the flow, and of servers at how requests "
    "are divided",
    "rollout.shadow_queue": "shadow_queue: 200         # requests that wait for their shadow answer; further ones have "
    "none, and are counted",
    "rollout.fallback_share": "fallback_share: 0.4       # of the time left, that an arm leaves to those to fall back "
    "to",
    "rollout.base_arm": "base_arm: false           # true: the untouched base under its probe answers when the "
    "champion cannot",
    "rollout.breaker": BREAKER,
    "feedback.per_person_per_hour": "per_person_per_hour: 60   # further ones are refused with 429",
    "feedback.rows_per_person": "rows_per_person: 50       # to learn from in 30 days because reviewers took this "
    "person's label; further ones wait",
    "feedback.weekly_rows": "weekly_rows: 50           # answers that the scheduled monitor hands to reviewers each "
    "week; 0: none",
    "feedback.double_share": "double_share: 0.2         # of a sheet's rows, that two reviewers get",
    "promote.max_verbatim_share": "max_verbatim_share: 1.0   # largest share of learned answers given back word for "
    "word, beyond chance; 1.0 allows any",
    "trigger.on_quality_loss": "on_quality_loss: true     # the monitor has seen the champion lose quality",
    "monitor.window_hours": "window_hours: 24.0        # "
    "compared at once; where weekends differ from weekdays, take 168.0",
    "monitor.reference_hours": "reference_hours: 168.0    # the first hours of a version",
    "monitor.false_alarms": "false_alarms: 0.01        # "
    "share of the windows that may show a shift where there is none",
    "monitor.cost_per_1000": "cost_per_1000: 0.0        # "
    "of a thousand texts, in register.estimate.currency; 0 leaves it out",
    "monitor.review_rows": "review_rows: 50           # "
    "that have moved most, which an alarm hands to reviewers; 0 opens no review",
}
# The same where models that write have other lines.
ADDED_TO_WRITERS = {"evaluate.automation": GENERATION_AUTOMATION, "evaluate.memorisation": VERBATIM}
# The same of each source, by its kind: dotted path below the source -> value.
ADDED_TO_SOURCES = {
    "files": {
        "columns.rejected": "null",
        "columns.keep": "[]",
        "reading": "{delimiter: null, encoding: null, sheet: null, header: true}",
    },
    "http": {"columns.rejected": "null", "columns.keep": "[]"},
    "sql": {"columns.rejected": "null", "columns.keep": "[]"},
}
# What the gate of an earlier release did: parameters of `promote` that its records lack -> a value that holds nobody.
UNLIMITED = {"max_robustness_loss": 1.0, "max_membership_auc": 1.0, "max_verbatim_share": 1.0}
ITEMS = {"notify.events": {"silent": "unhealthy"}}  # dotted path of a list -> its items that have a new name
REMEDY = "run `retune params migrate`"


def current_name(path: str) -> str | None:
    """The new dotted path of a parameter; None if it keeps its name."""
    for old, new in KEYS.items():
        if path == old or path.startswith(f"{old}."):
            return new + path.removeprefix(old)
    return None


def remedy(missing: str) -> str:
    """The end of a message about a missing parameter or section: what to do if an earlier release did not have it."""
    added = [*ADDED, *(f"fetch.sources.{name}" for names in ADDED_TO_SOURCES.values() for name in names)]
    missing = re.sub(r"^fetch\.sources\.\d+", "fetch.sources", missing)
    return f": {REMEDY}" if any(path == missing or path.startswith(f"{missing}.") for path in added) else ""


def added(task: str) -> dict[str, str]:
    """ADDED, with the lines of the task."""
    return ADDED if task == "classify" else ADDED | ADDED_TO_WRITERS


def upgrade(values: dict[str, Any]) -> dict[str, Any]:
    """The values under their current names, in the same order. Leaves the argument unchanged."""
    upgraded: dict[str, Any] = _upgrade(values, "")
    return upgraded


def outdated(values: Any) -> list[str]:
    """A sentence for each old name in these values."""
    return [f"`{old}` is now called `{new}`" for old, new in _outdated(values, "")]


def refuse_outdated(values: Any, where: str = "params.yaml") -> None:
    """Raises WrongUse that names each old name in `values` and its new one."""
    if sentences := outdated(values):
        raise WrongUse(f"{where}: {'; '.join(sentences)}: {REMEDY}")


def _upgrade(values: Any, prefix: str) -> Any:
    if isinstance(values, dict):
        renamed = {}
        for key, value in values.items():
            path = f"{prefix}{key}"
            new = KEYS.get(path)
            name = new.rpartition(".")[2] if new and new.rpartition(".")[2] not in values else key
            renamed[name] = _upgrade(value, f"{path}.")
        return renamed
    words = ITEMS.get(prefix.removesuffix("."))
    if words and isinstance(values, list):
        return [words.get(item, item) if isinstance(item, str) else item for item in values]
    return values


def _outdated(values: Any, prefix: str) -> list[tuple[str, str]]:
    path = prefix.removesuffix(".")
    if isinstance(values, dict):
        pairs = []
        for key, value in values.items():
            name = f"{prefix}{key}"
            pairs += [(name, KEYS[name])] if name in KEYS else []
            pairs += _outdated(value, f"{name}.")
        return pairs
    if isinstance(values, list):
        words = ITEMS.get(path, {})
        return [(f"{path}: {item}", words[item]) for item in values if isinstance(item, str) and item in words]
    return []
