"""Which module makes which page of docs/reference."""

from collections.abc import Callable
from pathlib import Path

from docs.generate import cli, environment, exit_codes, history_entries, params, record_schema

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs/reference"
PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli.page,
    "params.md": params.page,
    "environment.md": environment.page,
    "exit-codes.md": exit_codes.page,
    "record-schema.md": record_schema.page,
    "history-entries.md": history_entries.page,
}
