"""Model folders of tiny versions that write, each with words of its own."""

import torch

from retune.models import causal_lm, chat_template, decoder
from retune.models.base_model import weights_sha256
from retune.models.manifest import CausalLMManifest

LONG = 12  # tokens of the longest answer


def write_version(base, folder, method, seed):
    """The folder. Its adapter has random weights, by the seed."""
    name, sha256 = f"folder:{base}", weights_sha256(base)
    tokenizer, network = decoder.load_base(name, sha256, "fp32", torch.device("cpu"))
    chat_template.choose(tokenizer, "chatml")
    torch.manual_seed(seed)
    if method in ("lora", "dora"):
        network = decoder.add_lora(network, name, 4, 8, 0.0, False, method == "dora")
    if method == "prompt":
        network = decoder.add_prompt(network, name, 3)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    manifest = CausalLMManifest("instruct", method, name, sha256, 128, LONG, "chatml")
    causal_lm.save(folder, manifest, tokenizer, network.eval())
    return folder
