"""A server whose log holds an answer to two texts."""

import pytest
from fastapi.testclient import TestClient

from tasks.serve import feedback_routes
from tasks.serve.app import make_app
from tests.support import served


@pytest.fixture
def log_engine(tmp_path):
    log_engine = served.database_in(tmp_path)
    served.write(log_engine, [served.answer("where is it", position=place) for place in (0, 1)])
    return log_engine


@pytest.fixture
def logged_client(log_engine, make_service, monkeypatch):
    monkeypatch.setattr(feedback_routes, "UNTIL_LOGGED", 0.0)
    return TestClient(make_app(make_service(per_hour=3)), raise_server_exceptions=False)
