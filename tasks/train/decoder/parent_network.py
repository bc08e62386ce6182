"""The version that a model that writes goes on from: what it has to be, and its network, ready to learn.

Its adapter is gone on with, or its whole network; so params that say another base, template or adapter would be untrue
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


class Asked(Protocol):
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


def check(start: CausalLMManifest, params: Asked, **more: str) -> None:
    """Raises Refused for a version that cannot be gone on from, WrongUse for params that say other things of it.

    `more`: further values of the train section that have to be as the version's card has them.
    """
    if start.method not in WRITERS:
        raise Refused(
            f"the start was trained by method {start.method}, and only {', '.join(WRITERS)} can be gone on from: "
            "start from such a version"
        )
    said = {"base.name": params.base.name, "base.sha256": params.base.sha256, "template": params.template, **more}
    has = {"base.name": start.base_name, "base.sha256": start.base_sha256, "template": start.template}
    has |= {name: getattr(start, name) for name in more}
    if wrong := [f"train.{key} is {said[key]!r}, its own is {has[key]!r}" for key in has if said[key] != has[key]]:
        raise WrongUse(f"what params.yaml says of the start is untrue: {'; '.join(wrong)}: write what it is")


def load(folder: Path, card: CausalLMManifest, params: Asked) -> tuple[Any, nn.Module]:
    """Its tokenizer, with the template in it, and its network. Raises WrongUse if params name another adapter."""
    whole, device = card.method == "full", classifier.pick_device(params.device)
    precision = "fp32" if whole else params.precision  # what was learned would be rounded away in bf16
    if params.lora.base_precision == "fp8":
        lora_fusion.check_eight_bits(device, decoder.weight_dtype(precision, device))
    kept, place = collectives.loaded_as(params.parallel, precision, device)
    loaded = causal_lm.load_to_train(folder, place.type, kept, params.lora.dropout)
    if not whole:
        _check_adapter(loaded.network, params.lora)
    return loaded.tokenizer, loaded.network


def _check_adapter(network: Any, asked: DecoderLora) -> None:
    found = network.peft_config[network.active_adapter]
    has = (found.r, float(found.lora_alpha), found.use_rslora)
    if has != (asked.rank, float(asked.alpha), asked.rank_stabilised):
        raise WrongUse(
            f"the start's adapter has rank {has[0]}, alpha {has[1]:g}, rank_stabilised {has[2]}, and it is gone on "
            "with: write the same into train.lora"
        )
