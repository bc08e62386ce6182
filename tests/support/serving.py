"""A server over versions that answer at once, in this process: no model, no registry, no socket."""

import asyncio

import pytest
import yaml

from retune.config import params
from retune.config.rollout import Rollout
from retune.config.serving import Serve
from retune.registry.version import Version
from retune.serving.answers import Answer, ServedVersion
from tests.support import served
from tests.support.environment import ROOT
from tests.support.personal_data import PII

SHIPPED = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))


class FakeEngine:
    """Answers each text with itself. `raises`: an error instead; `seconds`: that it takes."""

    def __init__(self, version):
        self.served = ServedVersion(version.name, str(version.version), version.tags["seal"])
        self.raises, self.seconds, self.closed = None, 0.0, False

    async def answer(self, texts, deadline):
        await asyncio.sleep(self.seconds)
        if self.raises:
            raise self.raises
        return [Answer(text, 0.75, "auto") for text in texts]

    async def close(self):
        self.closed = True


class ListLog:
    """Keeps what is logged."""

    def __init__(self):
        self.rows, self.closed = [], False
        self.waiting = self.dropped = 0

    @property
    def written(self):
        return len(self.rows)

    def put(self, rows):
        self.rows += rows

    def close(self):
        self.closed = True


def fake_version(name="desk", number=1):
    return Version(name, number, "run", "2026-01-01", (), {"seal": f"seal of {name}/{number}"})


@pytest.fixture
def make_service(tmp_path):
    """A service of these models, with changes of the shipped parameters."""
    from retune.serving import kept_text
    from retune.serving.api_keys import KeyRing
    from retune.serving.live_version import LiveVersion
    from retune.serving.quarantine import Quarantine
    from retune.serving.rollout_arms import ArmSources
    from tasks.serve.service import Access, Service

    def make(*names, public=False, hosts=None, per_hour=60, live=(), latest_rollout=lambda _: None, **changes):
        models = [*live] or [LiveVersion(f"{name}@champion", lambda _, name=name: fake_version(name), FakeEngine, 0.1)
                  for name in names or ("desk",)]  # fmt: skip
        config = params.parse_section(Serve, {**SHIPPED["serve"], **changes})
        rollout = params.parse_section(Rollout, SHIPPED["rollout"])
        access = Access(KeyRing(tmp_path / "api-keys.json"), public, hosts)
        quarantine = Quarantine(served.database_in(tmp_path), per_hour, kept_text.text_policy("redacted", PII))
        sources = ArmSources(latest_rollout, lambda reference: FakeEngine(fake_version(*reference.split("/"))), None)
        return Service(config, rollout, models, access, ListLog(), quarantine, sources)

    return make
