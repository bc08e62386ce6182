"""One clone with one finished run, shared by all tests of this folder."""

import pandas as pd
import pytest

from tests.support.classifier_runs import QUEUES, SMALL
from tests.support.servers import open_webhook


@pytest.fixture(scope="session")
def session_webhook():
    """One for all tests of the folder."""
    with open_webhook() as port_and_messages:
        yield port_and_messages


@pytest.fixture(scope="session")
def classifier_clone(new_clone, prefect_url, tmp_path_factory, session_webhook):
    """A clone with a slice of the sample and one finished run, and two channels, of which one takes nothing."""
    port, _ = session_webhook
    channels = f"json://127.0.0.1:{port}/no/ json://127.0.0.1:{port}"
    classifier_clone = new_clone(
        tmp_path_factory.mktemp("house"), PREFECT_API_URL=prefect_url, RETUNE_NOTIFY_URLS=channels
    )
    tickets = pd.read_csv(classifier_clone.folder / "tests/samples/tickets.csv", dtype="str", keep_default_na=False)
    tickets = tickets[tickets["queue"].isin(QUEUES)].groupby("queue").head(65)
    tickets.to_csv(classifier_clone.folder / "slice.csv", index=False)
    ingested = classifier_clone.retune(
        "ingest", "slice.csv", "--text", "body", "--label", "queue", "--id", "ticket_id", "--group", "customer_id"
    )
    assert ingested.returncode == 0, ingested.stderr
    classifier_clone.ran = classifier_clone.retune(
        "run", *(word for key, value in SMALL.items() for word in ("-S", f"{key}={value}")), timeout=300
    )
    assert classifier_clone.ran.returncode == 0, classifier_clone.ran.stdout + classifier_clone.ran.stderr
    return classifier_clone
