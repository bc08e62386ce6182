"""The version that a decoder goes on from: what it has to be, and its network, ready to learn.

Its adapter is trained on, or its whole network; so params that name another base, template or adapter would be untrue
in the record, and are refused.
"""

from pathlib import Path
from typing import Any, Protocol

from torch import nn

from retune.config.common import Base
from retune.config.generation import DecoderLora, Parallel
from retune.errors import Refused, WrongUse
from retune.lineage.parent_version import WRITERS
from retune.models import causal_lm, classifier, decoder
from retune.models.manifest import CausalLMManifest
from tasks.train.decoder import lora_fusion
from tasks.train.distributed import collectives


class ParentConfig(Protocol):
    """What of the train section the version has to agree with, and how it is loaded."""

    @property
    def base(self) -> Base: ...
    @property
    def template(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def lora(self) -> DecoderLora: ...
    @property
    def parallel(self) -> Parallel: ...


def check(start: CausalLMManifest, config: ParentConfig, **more: str) -> None:
    """Raises Refused for a version that training cannot go on from, WrongUse for params that contradict it.

    `more`: further values of the train section that have to be as the version's manifest has them.
    """
    if start.method not in WRITERS:
        raise Refused(
            f"the start was trained by method {start.method}, and only {', '.join(WRITERS)} can be gone on from: "
            "start from such a version"
        )
    configured = {"base.name": config.base.name, "base.sha256": config.base.sha256, "template": config.template, **more}
    actual = {"base.name": start.base_name, "base.sha256": start.base_sha256, "template": start.template}
    actual |= {name: getattr(start, name) for name in more}
    differences = [
        f"train.{key} is {configured[key]!r}, its own is {actual[key]!r}"
        for key in actual
        if configured[key] != actual[key]
    ]
    if differences:
        raise WrongUse(f"params.yaml contradicts the start: {'; '.join(differences)}: write the start's own values")


def load(folder: Path, manifest: CausalLMManifest, config: ParentConfig) -> tuple[Any, nn.Module]:
    """Its tokenizer, with the template in it, and its network. Raises WrongUse if params name another adapter."""
    is_full, device = manifest.method == "full", classifier.pick_device(config.device)
    precision = "fp32" if is_full else config.precision  # bf16 would round away what is learned
    if config.lora.base_precision == "fp8":
        lora_fusion.check_eight_bits(device, decoder.weight_dtype(precision, device))
    precision, place = collectives.loaded_as(config.parallel, precision, device)
    model = causal_lm.load_to_train(folder, place.type, precision, config.lora.dropout)
    if not is_full:
        _check_adapter(model.network, config.lora)
    return model.tokenizer, model.network


def _check_adapter(network: Any, lora: DecoderLora) -> None:
    adapter = network.peft_config[network.active_adapter]
    actual = (adapter.r, float(adapter.lora_alpha), adapter.use_rslora)
    if actual != (lora.rank, float(lora.alpha), lora.rank_stabilised):
        raise WrongUse(
            f"the start's adapter has rank {actual[0]}, alpha {actual[1]:g}, rank_stabilised {actual[2]}, and training "
            "goes on with it: write the same into train.lora"
        )
