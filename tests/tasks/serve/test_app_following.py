"""An alias that moves under load: every request is answered, each by one version alone."""

import asyncio
from dataclasses import replace

import httpx
import pytest

from retune.config import params
from retune.config.serving import Serve
from retune.models import classifier, routing
from retune.serving.answers import ServedVersion
from retune.serving.encoder_engine import EncoderEngine
from retune.serving.live_version import LiveVersion
from tasks.serve.app import make_app
from tests.support.serving import SHIPPED, fake_version

MOVES, CLIENTS = 50, 16

pytestmark = pytest.mark.slow


@pytest.fixture
def live_version(model_folder):
    """Of a real model; version n labels with n in front, so that an answer says which version gave it."""
    config = params.parse_section(Serve, {**SHIPPED["serve"], "batch_tokens": 64, "cache_texts": 100})
    model = classifier.load(model_folder, "cpu")

    class Registry:
        now = 1

    def load(version):
        labels = [f"{version.version} {label}" for label in model.manifest.labels]
        own_labels = replace(model, manifest=replace(model.manifest, labels=labels))
        served = ServedVersion(version.name, str(version.version), version.tags["seal"])
        return EncoderEngine(served, own_labels, routing.Routing(0.5, {}, "test"), config)

    live = LiveVersion("desk@champion", lambda _: fake_version(number=Registry.now), load, 0.05)
    return live, Registry


def test_no_request_is_lost_and_none_is_answered_by_two_versions(live_version, make_service, make_tickets):
    live, registry = live_version
    service = make_service(live=[live])
    texts = list(make_tickets(300)["text"])

    async def story():
        transport = httpx.ASGITransport(make_app(service))
        moving, versions = True, []

        async def client(number):
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
                at = number
                while moving:
                    at += 7
                    batch = [texts[(at + place) % len(texts)] for place in range(1 + at % 5)]
                    response = await http.post("/v1/predict", json={"texts": batch})
                    assert response.status_code == 200, response.text
                    content = response.json()
                    number_of_version = content["version"].removeprefix("desk/")
                    assert len(content["results"]) == len(batch)
                    assert {each["label"].split()[0] for each in content["results"]} == {number_of_version}
                    assert content["seal"] == f"seal of desk/{number_of_version}"
                    versions.append(int(number_of_version))

        clients = [asyncio.create_task(client(number)) for number in range(CLIENTS)]
        for number in range(2, MOVES + 2):
            registry.now = number
            await live.look()
            await asyncio.sleep(0.02)
        moving = False
        await asyncio.gather(*clients)
        await service.close()
        return versions

    versions = asyncio.run(asyncio.wait_for(story(), 120))
    assert live.swaps == MOVES and live.failures == 0
    assert len(versions) > MOVES and len(set(versions)) > MOVES // 2
