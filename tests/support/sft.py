"""How tests train a model that writes."""

import torch

from retune.models import causal_lm, decoder, generation
from tasks.train.context import train_context
from tasks.train.decoder.sft import fit

QUIET = lambda *_, **__: None  # noqa: E731


def trained(folder, sides, params, on_progress=QUIET, **more):
    result = fit(*sides, train_context(params, folder / "work", on_progress), **more)
    result.save(folder / "model")
    return causal_lm.CausalLM(result.manifest, result.tokenizer, result.network), result.history, result.report


def base_loss(params, rows):
    _, network = decoder.load_base(params.base.name, params.base.sha256, "fp32", torch.device("cpu"))
    likelihood = generation.likelihood(network, rows, 8)
    return likelihood.nll.sum() / likelihood.tokens.sum()
