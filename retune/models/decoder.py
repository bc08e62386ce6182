"""The network of a causal language model: a pretrained decoder, its adapters, and one forward pass for all uses.

Adapter of transformers and PEFT, like `retune.models.classifier`. Training, scoring and the confidence of an answer
share one forward pass: packed rows (`retune.models.packing`) that attend only to themselves, with the head applied only
where a next token matters.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from retune.errors import Refused
from retune.models import attention, chat_template, classifier
from retune.models.chat_template import TokenizedExample
from retune.models.packing import PackedBatch, pack

SAME, SAME_FP32 = 0.1, 1e-4  # tolerance between two ways to the same logits, as a share of the largest: bf16, float32
ChangeEmbeddings = Callable[[torch.Tensor, PackedBatch], torch.Tensor]  # [1, tokens, width] of a batch -> the same


def load_base(
    name: str, sha256: str, precision: str, device: torch.device, four_bits: bool = False
) -> tuple[Any, nn.Module]:
    """The tokenizer and the network of a base. Raises Refused if its weights do not have this sha256."""
    folder = classifier.checked_base(name, sha256)
    return chat_template.load(folder), load_network(folder, weight_dtype(precision, device), device, four_bits)


def weight_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of loaded weights: with precision auto bf16 on CUDA, otherwise float32."""
    bf16 = precision == "bf16" or (precision == "auto" and device.type == "cuda")
    return torch.bfloat16 if bf16 else torch.float32


def load_network(folder: Path, dtype: torch.dtype, device: torch.device, four_bits: bool = False) -> nn.Module:
    """The network in a folder of weights, with packed attention. Raises Refused if the network does not support it."""
    from transformers import AttentionInterface, AttentionMaskInterface, AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    AttentionInterface.register(attention.NAME, attention.packed)
    AttentionMaskInterface.register(attention.NAME, attention.no_mask)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if hasattr(config, "attention_dropout"):
        config.attention_dropout = 0.0
    network: nn.Module = AutoModelForCausalLM.from_pretrained(
        folder,
        config=config,
        dtype=dtype,
        attn_implementation=attention.NAME,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        **(_four_bits(device) if four_bits else {}),
    )
    network = network if four_bits else network.to(device)
    _check(network, str(folder))
    return network


def _four_bits(device: torch.device) -> dict[str, Any]:
    """QLoRA's base (Dettmers et al. 2023): 4-bit NormalFloat with double quantisation."""
    import importlib.util

    if device.type != "cuda" or importlib.util.find_spec("bitsandbytes") is None:
        reason = "bitsandbytes is not installed" if device.type == "cuda" else "there is no CUDA device"
        raise Refused(
            f"train.method qlora loads the base in 4 bits, but {reason}: pip install bitsandbytes on a machine with "
            "an NVIDIA GPU, or write train.method: lora"
        )
    from transformers import BitsAndBytesConfig

    quantised = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"quantization_config": quantised, "device_map": {"": device}}


@torch.inference_mode()
def _check(network: Any, source: str) -> None:
    """Raise Refused if `hidden_states` and `head` do not give the base's logits: soft caps, scales, biases, windows."""
    row = TokenizedExample([number % network.get_input_embeddings().num_embeddings for number in range(1, 12)], 1)
    pair = [row, TokenizedExample(row.tokens[::-1], 1)]
    was_training = network.training
    network.eval()
    try:
        packed, separate = packed_logits(network, pair), separate_logits(network, pair)
    except (AttributeError, TypeError, ValueError) as error:
        raise Refused(f"the base in {source} is not a decoder that supports packed rows: {error}") from None
    finally:
        network.train(was_training)
    tolerance = SAME_FP32 if head(network).dtype == torch.float32 else SAME
    soft_cap = getattr(network.config, "final_logit_softcapping", None)  # shows only on large logits
    atol = tolerance * max(1.0, float(separate.abs().max()))
    if soft_cap or not torch.allclose(packed, separate, atol=atol, rtol=0):
        raise Refused(
            f"the base in {source} computes its logits in an unknown way (a soft cap, a scale or a bias of its head): "
            "use a base of another family, such as Llama, Qwen or Mistral"
        )


def add_lora(
    network: nn.Module, base_name: str, rank: int, alpha: float, dropout: float, rank_stabilised: bool, dora: bool
) -> nn.Module:
    """LoRA (Hu et al. 2021) on all linear layers but the head; rsLoRA: Kalajdzievski 2023; DoRA: Liu et al. 2024."""
    from peft import LoraConfig

    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        use_rslora=rank_stabilised,
        use_dora=dora,
        target_modules="all-linear",
        base_model_name_or_path=base_name,
    )
    return _with_adapter(network, config, base_name)


def add_ia3(network: nn.Module, base_name: str) -> nn.Module:
    """One learned factor for each key, value and inner feed-forward unit (Liu et al. 2022)."""
    from peft import IA3Config

    try:
        return _with_adapter(network, IA3Config(task_type="CAUSAL_LM", base_model_name_or_path=base_name), base_name)
    except ValueError as error:
        raise Refused(f"train.method ia3 does not support this base: {error}") from None


def add_prompt(network: nn.Module, base_name: str, virtual_tokens: int) -> nn.Module:
    """Learned vectors before each row (Lester et al. 2021); they start as the embeddings of random tokens."""
    from peft import PromptTuningConfig

    config = PromptTuningConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=virtual_tokens,
        prompt_tuning_init="SAMPLE_VOCAB",
        base_model_name_or_path=base_name,
    )
    return _with_adapter(network, config, base_name)


def _with_adapter(network: nn.Module, config: Any, base_name: str) -> nn.Module:
    from peft import get_peft_model

    network.name_or_path = base_name  # type: ignore[assignment]  # else PEFT writes a path of this machine
    with classifier.quiet():
        adapted: nn.Module = get_peft_model(network, config)
    return adapted


def load_adapter(network: nn.Module, folder: Path, base_name: str, dropout: float | None = None) -> nn.Module:
    """`network` under the adapter in `folder`. `dropout`: of the adapter, for training; None: only for prediction."""
    from peft import PeftConfig, PeftModel

    config = PeftConfig.from_pretrained(folder)
    if dropout is not None:
        config.lora_dropout = dropout
    network.name_or_path = base_name  # type: ignore[assignment]  # as when the adapter was made
    with classifier.quiet():
        adapted: nn.Module = PeftModel.from_pretrained(network, folder, is_trainable=dropout is not None, config=config)
    return adapted


def add_adapter_beside(network: Any, folder: Path, adapter: str) -> None:
    """One more adapter on the base that `network` is under, by the name that `use_adapter` asks for."""
    with classifier.quiet():
        network.load_adapter(folder, adapter, is_trainable=False)
    network.eval()


def use_adapter(network: Any, adapter: str) -> None:
    """Let this one of several adapters of a network count in what it computes from here on."""
    if network.active_adapter != adapter:
        network.set_adapter(adapter, inference_mode=True)


def drop_adapter(network: Any, adapter: str) -> None:
    network.delete_adapter(adapter)


def hidden_states(network: nn.Module, batch: PackedBatch, change: ChangeEmbeddings | None = None) -> torch.Tensor:
    """[tokens, width], after the last norm: the input of the head. `change` is applied to the embeddings."""
    base = below_adapter(network)
    embedded = base.get_input_embeddings()(batch.input_ids)
    if change:
        embedded = change(embedded, batch)
    virtual = virtual_tokens(network)
    if virtual is not None:  # in the places that `with_virtual_tokens` added
        places = batch.position_ids.clamp(max=len(virtual) - 1)
        is_virtual = (batch.position_ids < len(virtual))[..., None]
        embedded = torch.where(is_virtual, virtual[places].to(embedded.dtype), embedded)
    out = body(network)(
        inputs_embeds=embedded,
        position_ids=batch.position_ids,
        cu_seq_lens_q=batch.cu_seqlens,
        max_length_q=batch.max_seqlen,
        use_cache=False,
    )
    hidden: torch.Tensor = out.last_hidden_state[0]
    return hidden


def autocast(network: nn.Module, precision: str) -> torch.autocast:
    """Multiply weights that train in float32 (method full) in bf16 if `precision` asks for it."""
    weight = head(network)
    bf16 = weight.dtype == torch.float32 and weight_dtype(precision, weight.device) == torch.bfloat16
    return torch.autocast(weight.device.type, dtype=torch.bfloat16, enabled=bf16)


def with_virtual_tokens(rows: Sequence[TokenizedExample], network: nn.Module) -> Sequence[TokenizedExample]:
    """The rows for `hidden_states`: under prompt tuning with places for the virtual tokens before each."""
    virtual = virtual_tokens(network)
    count = 0 if virtual is None else len(virtual)
    return [row.after([0] * count) for row in rows] if count else rows


def body(network: nn.Module) -> Any:
    """The network below the head, with its adapters."""
    base = below_adapter(network)
    return getattr(base, base.base_model_prefix)


def head(network: nn.Module) -> torch.Tensor:
    """[vocabulary, width]"""
    weight: torch.Tensor = below_adapter(network).get_output_embeddings().weight
    return weight


def below_adapter(network: Any) -> Any:
    """transformers' own network, with or without an adapter around it."""
    return network.get_base_model() if hasattr(network, "peft_config") else network


def virtual_tokens(network: Any) -> torch.Tensor | None:
    """[virtual tokens, width] of prompt tuning; None for other methods."""
    encoders = getattr(network, "prompt_encoder", None)
    return encoders[network.active_adapter].embedding.weight if encoders else None


def device_of(network: Any) -> torch.device:
    device: torch.device = network.get_input_embeddings().weight.device
    return device


def packed_logits(network: nn.Module, rows: Sequence[TokenizedExample]) -> torch.Tensor:
    """[tokens of all rows, vocabulary], with the rows packed into one batch."""
    return (hidden_states(network, pack(rows, device_of(network))) @ head(network).t()).float()


def separate_logits(network: Any, rows: Sequence[TokenizedExample]) -> torch.Tensor:
    """The same by transformers' own forward pass, row by row."""
    device = device_of(network)
    network.set_attn_implementation("sdpa")
    try:
        logits = [network(torch.tensor([row.tokens], device=device), use_cache=False).logits[0] for row in rows]
    finally:
        network.set_attn_implementation(attention.NAME)
    return torch.cat([each.float() for each in logits])
