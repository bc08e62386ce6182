import asyncio
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from retune.models.explanation import WordWeight
from retune.serving.encoder_engine import EncoderEngine
from retune.serving.explainer import Explanation, Neighbour
from tasks.serve import errors, explain_routes
from tasks.serve.edge import Edge

REASONS = Explanation([WordWeight("bill", 0, 0.2)], [Neighbour("r1", 0.98, "desk", "bills", "my bill")], "")


class Answers(EncoderEngine):
    """An engine that labels without a model."""

    def __init__(self, engine):
        self.served, self.answer, self.model = engine.served, engine.answer, "the model"


@pytest.fixture
def client(make_service):
    service = make_service(deadline_seconds=5.0)
    live = service.models["desk"]
    live.engine = Answers(live.engine)
    loads = []

    def open_explainer(model, served):
        loads.append((model, str(served)))
        return SimpleNamespace(explain=lambda text, label: REASONS)

    app = FastAPI()
    app.add_middleware(Edge, config=service.config, metrics=service.metrics, hosts=None)
    errors.add_handlers(app)
    app.include_router(explain_routes.routes(service, open_explainer))
    client = TestClient(app)
    client.loads, client.live = loads, live
    return client


def test_an_explanation_names_words_and_rows_and_its_base_is_loaded_once(client):
    for _ in range(2):
        content = client.post("/v1/explain", json={"text": "my bill"}).json()
    assert (content["version"], content["label"], content["missing"]) == ("desk/1", "my bill", "")
    assert content["words"] == [{"word": "bill", "place": 0, "loss": 0.2}]
    assert content["neighbours"][0]["text"] == "my bill"
    assert client.loads == [("the model", "desk/1")]


@pytest.mark.parametrize("body", [{}, {"text": 1}, {"text": "a\0"}, {"text": "a", "model": "shop"}])
def test_what_is_no_text_is_refused(client, body):
    assert client.post("/v1/explain", json=body).status_code == 422


def test_what_cannot_be_explained_says_so(client):
    client.live.engine = SimpleNamespace(served=client.live.served)
    assert client.post("/v1/explain", json={"text": "a"}).json()["error"]["kind"] == "invalid"


def test_an_explanation_that_takes_too_long_is_told_as_late(client):
    explainers = explain_routes.Explainers(lambda model, served: asyncio.run(asyncio.sleep(0.2)))

    async def story():
        with pytest.raises(explain_routes.TooLate):
            await explainers.explain(client.live, "a", asyncio.get_running_loop().time() + 0.01)

    asyncio.run(story())
