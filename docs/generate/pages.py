"""Which module makes which page."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from docs.generate import cli, decisions, environment, exit_codes, history_entries, params, record_schema

ROOT = Path(__file__).resolve().parents[2]
PAGES: dict[str, Callable[[], str]] = {  # the path of a page from the root of the repository
    "docs/reference/cli.md": cli.page,
    "docs/reference/params.md": params.page,
    "docs/reference/environment.md": environment.page,
    "docs/reference/exit-codes.md": exit_codes.page,
    "docs/reference/record-schema.md": record_schema.page,
    "docs/reference/history-entries.md": history_entries.page,
    **{path: partial(decisions.page, prefix) for path, prefix in decisions.INDEXES.items()},
}
