"""What the stories of the whole road share."""

import pytest


@pytest.fixture(scope="session")
def small():
    """Parameters with which a run takes seconds, and its gate lets pass what is better by a little."""
    return {
        "train.method": "probe",
        "train.max_tokens": 32,
        "evaluate.bootstrap": 100,
        "promote.bootstrap": 200,
        "promote.confidence": 0.6,
        "register.probe_rows": 8,
    }
