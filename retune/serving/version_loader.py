"""Loads registered versions, ready to answer: into this process, or behind the upstream that params name for them."""

import threading
from dataclasses import replace

from retune.config.serving import Serve
from retune.config.writing import UpstreamServer
from retune.errors import WrongUse
from retune.models import manifest
from retune.registry import versions
from retune.registry.version import Version
from retune.serving import encoder_engine
from retune.serving.answers import ServedVersion
from retune.serving.decoder_engine import DecoderEngine
from retune.serving.live_version import Engine
from retune.serving.upstream import UpstreamWriter
from retune.serving.upstream_client import UpstreamClient


class Loader:
    """One for a server: versions that it has write in the process share one thread, and the bases in memory."""

    def __init__(self, config: Serve) -> None:
        self._config = config
        self._writing: DecoderEngine | None = None
        self._starting = threading.Lock()

    def load(self, reference: str, version: Version) -> Engine:
        """reference: as it was asked for, and as an upstream names it.

        The files of the version are verified first, and its base where it is loaded here, so the seal is that of what
        answers. Raises Refused for files that differ from what was registered, WrongUse if several upstreams have it.
        """
        served = ServedVersion(version.name, str(version.version), version.tags["seal"])
        writer = replace(served, writes=True)
        if place := self._upstream(reference):
            server, model = place
            folder = versions.carried_folder(version)
            return UpstreamWriter(writer, folder, UpstreamClient(server), model, server.prompts)
        folder = versions.model_folder(version)
        if isinstance(manifest.read(folder), manifest.CausalLMManifest):
            return self._in_process().load(writer, folder)
        return encoder_engine.load(served, folder, self._config)

    def load_base(self, version: Version) -> Engine:
        """The base under the probe of a classifier. Raises WrongUse for a version that writes."""
        folder = versions.model_folder(version)
        if isinstance(manifest.read(folder), manifest.CausalLMManifest):
            raise WrongUse(f"{version} writes, and has no probe", remedy="set rollout.base_arm to false")
        served = ServedVersion(version.name, str(version.version), version.tags["seal"])
        return encoder_engine.load_base(served, folder, self._config)

    def _upstream(self, reference: str) -> tuple[UpstreamServer, str] | None:
        """Which server has a reference, and by what name."""
        places = [
            (server, model)
            for server in self._config.writing.upstreams
            for model, name in server.models.items()
            if name == reference
        ]
        if len(places) > 1:
            urls = ", ".join(server.url for server, _ in places)
            raise WrongUse(f"{reference} stands in serve.writing.upstreams more than once ({urls})", remedy="keep one")
        return places[0] if places else None

    def _in_process(self) -> DecoderEngine:
        with self._starting:
            if self._writing is None:
                self._writing = DecoderEngine(self._config.writing)
            return self._writing
