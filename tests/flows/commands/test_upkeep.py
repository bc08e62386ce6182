"""The commands of whoever keeps models current, as people call them."""

import json
from pathlib import Path

import pytest
import yaml

SAMPLE = Path(__file__).parents[2] / "samples/tickets.csv"
COLUMNS = {"text": "body", "label": "queue", "id": "ticket_id", "group": "customer_id", "split": None}


@pytest.fixture
def with_sources(own_clone):
    """Writes file sources into params.yaml, by their names and paths."""

    def configure(**paths):
        path = own_clone.folder / "params.yaml"
        values = yaml.safe_load(path.read_text("utf-8"))
        files = {"kind": "files", "columns": COLUMNS, "licence": None, "collected": None}
        sources = [{**files, "name": name, "path": str(where)} for name, where in paths.items()]
        values["fetch"] |= {"settle_seconds": 0.0, "sources": sources}
        path.write_text(yaml.safe_dump(values), "utf-8")
        return own_clone

    return configure


def test_a_dry_run_in_which_a_source_fails_tells_what_it_would_do_and_ends_with_1(with_sources):
    clone = with_sources(desk=SAMPLE, gone="/no/such")
    done = clone.retune("retrain", "--dry-run", "--json")
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    told = json.loads(done.stdout)
    assert told["outcome"] == "train" and told["rows"]["desk"] > 1000
    assert "/no/such" in told["failures"]["gone"]
