import json
from dataclasses import replace

import pytest
import yaml

from retune.config import params
from retune.config.serving import Serve
from retune.config.writing import UpstreamServer
from retune.errors import WrongUse
from retune.registry import versions
from retune.registry.version import Version
from retune.serving import version_loader
from retune.serving.answers import ServedVersion
from retune.serving.decoder_engine import DecoderWriter
from retune.serving.encoder_engine import EncoderEngine
from retune.serving.upstream import UpstreamWriter
from tests.support.environment import ROOT
from tests.support.written_versions import write_version

SHIPPED = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))["serve"]
SERVER = UpstreamServer("http://127.0.0.1:1/v1", {"support": "writer@champion"}, "messages", None, 1.0, 1, 8)


def config(*upstreams):
    serve = params.parse_section(Serve, SHIPPED)
    return replace(serve, writing=replace(serve.writing, upstreams=list(upstreams)))


def version(name, number=1):
    return Version(name, number, "run", "2026-01-01", (), {"seal": "5ea1"})


@pytest.fixture
def folders(model_folder, tiny_causal_lm, tmp_path, monkeypatch):
    """Where a version's checked folder is, by the name of its model; which were checked with their base."""
    manifest = {"task": "instruct", "method": "lora", "base_name": "hub:x", "base_sha256": "0" * 64}
    manifest |= {"max_tokens": 64, "max_new_tokens": 16, "template": "chatml"}
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "model.json").write_text(json.dumps(manifest), "utf-8")
    folders = {
        "desk": model_folder,
        "writer": write_version(tiny_causal_lm, tmp_path / "writer", "lora", 1),
        "far": tmp_path / "far",
    }
    with_base = []

    def of_version(version):
        with_base.append(version.name)
        return folders[version.name]

    monkeypatch.setattr(versions, "carried_folder", lambda version: folders[version.name])
    monkeypatch.setattr(versions, "model_folder", of_version)
    return with_base


def test_a_version_is_loaded_as_what_it_is(folders):
    loader = version_loader.Loader(config())
    desk, writer = loader.load("desk@champion", version("desk")), loader.load("writer@champion", version("writer", 3))
    again = loader.load("writer/3", version("writer", 3))
    assert isinstance(desk, EncoderEngine) and isinstance(writer, DecoderWriter)
    assert writer.served == ServedVersion("writer", "3", "5ea1", writes=True)
    assert desk.served == ServedVersion("desk", "1", "5ea1", writes=False)
    assert again.model.network is writer.model.network, "the base is in memory once"
    assert folders == ["desk", "writer", "writer"]
    writer.engine.close()


def test_a_version_that_an_upstream_has_needs_no_base_here(folders):
    far = replace(SERVER, models={"support": "far@champion"})
    writer = version_loader.Loader(config(far)).load("far@champion", version("far"))
    assert isinstance(writer, UpstreamWriter) and writer.model == "support"
    assert not folders


def test_a_reference_that_two_upstreams_have_is_refused(folders):
    other = replace(SERVER, url="http://127.0.0.1:2/v1")
    with pytest.raises(WrongUse, match="more than once"):
        version_loader.Loader(config(SERVER, other)).load("writer@champion", version("writer"))


def test_a_classifier_behind_an_upstream_is_refused(folders):
    desk = replace(SERVER, models={"desk": "desk@champion"})
    with pytest.raises(WrongUse, match="predicts labels"):
        version_loader.Loader(config(desk)).load("desk@champion", version("desk"))
