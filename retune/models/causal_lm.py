"""A model that writes: a pretrained decoder, whole or under an adapter. Door to transformers and PEFT beside model.py.

A model folder holds safetensors and JSON, never a pickle:

    model.json            task, method, base, lengths, template
    tokenizer/            as transformers writes it, the chosen chat template in it
    decoder/              method full: the tuned network, whole
    adapter/              every other method: the adapter in PEFT's format (which vLLM reads too), for the base that
                          model.json names

One forward serves training, scoring and the answer's confidence: rows end to end (`retune.models.packing`), each
attending to itself alone, the head applied only where a next token is asked for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from retune.data import messages
from retune.errors import Refused
from retune.models import attention, chat_template, classifier
from retune.models.chat_template import TokenizedExample
from retune.models.manifest import CausalLMManifest, read_causal_lm, write
from retune.models.packing import PackedBatch, pack, supervised

CHUNK = 4096  # tokens whose logits are held at once
SAME, SAME_FP32 = 0.1, 1e-4  # of the largest logit: what two ways to the same logits may differ by in bf16, in float32
MERGED = 4.0  # times as far as rounding alone puts the logits of one network apart
Change = Callable[
    [torch.Tensor, PackedBatch], torch.Tensor
]  # embeddings [1, tokens, width] of a pack -> the same, changed


@dataclass(frozen=True)
class Likelihood:
    nll: np.ndarray  # [rows], sums over supervised tokens, in nats
    tokens: np.ndarray  # [rows], how many those are


@dataclass(frozen=True)
class TruncatedPrompt:
    """A prompt whose beginning is left out."""

    row: int
    tokens: int
    read: int  # of them, the last ones


@dataclass
class CausalLM:
    """A loaded model folder: answers prompts, and says how likely an answer is."""

    card: CausalLMManifest
    tokenizer: Any
    network: nn.Module

    def predict(
        self, texts: Sequence[str], batch_size: int = 8, max_new_tokens: int | None = None
    ) -> classifier.Predictions:
        """The most likely next tokens, one after the other, for each prompt: words, or messages as a row holds them.

        The confidence is exp of the mean log-probability of what was written: the geometric mean of its tokens'.
        """
        new = max_new_tokens or self.card.max_new_tokens
        prompts = [self._prompt(text, new) for text in texts]
        answers: list[list[int]] = [[] for _ in prompts]
        order = sorted(range(len(prompts)), key=lambda row: (len(prompts[row]), row))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            for row, answer in zip(rows, self._answers([prompts[row] for row in rows], new), strict=True):
                answers[row] = answer
        written = [TokenizedExample(ask + said, len(ask)) for ask, said in zip(prompts, answers, strict=True)]
        found = self.likelihood(written, batch_size)
        said = [self.tokenizer.decode(answer, skip_special_tokens=True) for answer in answers]
        return classifier.Predictions(said, np.exp(-found.nll / np.maximum(found.tokens, 1)), found.tokens)

    def likelihood(self, rows: Sequence[TokenizedExample], batch_size: int = 8) -> Likelihood:
        return likelihood(self.network, rows, batch_size)

    def cut(self, texts: Sequence[str]) -> list[TruncatedPrompt]:
        """The prompts that are longer than what is read of them."""
        read = self._room(self.card.max_new_tokens)
        lengths = [len(self._whole(text)) for text in texts]
        return [TruncatedPrompt(row, length, read) for row, length in enumerate(lengths) if length > read]

    def _room(self, new: int) -> int:
        return max(1, self.card.max_tokens - new)

    def _prompt(self, text: str, new: int) -> list[int]:
        return self._whole(text)[-self._room(new) :]  # as training cuts: from the left

    def _whole(self, text: str) -> list[int]:
        said = messages.parse(text) or [{"role": "user", "content": text}]
        return chat_template.encode(self.tokenizer, chat_template.prompt_text(self.tokenizer, said))

    @torch.inference_mode()
    def _answers(self, prompts: Sequence[list[int]], new: int) -> list[list[int]]:
        """Up to the end-of-sequence token and with it, or `new` tokens."""
        from transformers import GenerationConfig

        network, end = _below_adapter(self.network), int(self.tokenizer.eos_token_id)
        device, virtual = _device(network), _virtual(self.network)
        longest = max(map(len, prompts))
        ids = torch.tensor([[end] * (longest - len(prompt)) + prompt for prompt in prompts], device=device)
        embedded = network.get_input_embeddings()(ids)
        seen = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
        if virtual is not None:
            embedded, seen = _led(embedded, seen, virtual, [len(prompt) for prompt in prompts])
        greedy = GenerationConfig(do_sample=False, max_new_tokens=new, eos_token_id=end, pad_token_id=end)
        # What the base was published with (temperature, penalties) is not what is measured here.
        published, network.generation_config = network.generation_config, greedy
        network.set_attn_implementation("sdpa")  # packed attention keeps no cache
        try:
            made = network.generate(inputs_embeds=embedded, attention_mask=seen, generation_config=greedy)
        finally:
            network.set_attn_implementation(attention.NAME)
            network.generation_config = published
        return [_until(answer, end) for answer in made.tolist()]


def _until(tokens: list[int], end: int) -> list[int]:
    return tokens[: tokens.index(end) + 1] if end in tokens else tokens


def _led(
    embedded: torch.Tensor, seen: torch.Tensor, virtual: torch.Tensor, lengths: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Left-padded prompts with the virtual tokens between the padding and the prompt, where training has them."""
    count, longest = len(virtual), embedded.shape[1]
    wider = embedded.new_zeros(len(lengths), count + longest, embedded.shape[2])
    mask = seen.new_zeros(len(lengths), count + longest)
    for row, length in enumerate(lengths):
        wider[row, longest - length :] = torch.cat([virtual.to(embedded.dtype), embedded[row, longest - length :]])
        mask[row, longest - length :] = 1
    return wider, mask


# ---------------------------------------------------------------- the base and its adapters


def load_base(
    name: str, sha256: str, precision: str, device: torch.device, four_bits: bool = False
) -> tuple[Any, nn.Module]:
    """The tokenizer and the network of a base. Raises Refused if its weights are not those of `sha256`."""
    folder = classifier.checked_base(name, sha256)
    return classifier.load_tokenizer(folder), _network(folder, weight_dtype(precision, device), device, four_bits)


def weight_dtype(precision: str, device: torch.device) -> torch.dtype:
    """What weights are loaded as: bf16 on CUDA unless told otherwise, float32 elsewhere."""
    bf16 = precision == "bf16" or (precision == "auto" and device.type == "cuda")
    return torch.bfloat16 if bf16 else torch.float32


def _network(folder: Path, dtype: torch.dtype, device: torch.device, four_bits: bool = False) -> nn.Module:
    from transformers import AttentionInterface, AttentionMaskInterface, AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    AttentionInterface.register(attention.NAME, attention.packed)
    AttentionMaskInterface.register(attention.NAME, attention.no_mask)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if hasattr(config, "attention_dropout"):
        config.attention_dropout = 0.0
    network = AutoModelForCausalLM.from_pretrained(
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
    """QLoRA's base (Dettmers et al. 2023): NormalFloat of 4 bits, its scales quantised again."""
    import importlib.util

    if device.type != "cuda" or importlib.util.find_spec("bitsandbytes") is None:
        lacking = "bitsandbytes is not installed" if device.type == "cuda" else "there is no CUDA device"
        raise Refused(
            f"train.method qlora holds the base in 4 bits, and {lacking}: pip install bitsandbytes on a machine with "
            "an NVIDIA GPU, or write train.method lora"
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
def _check(network: Any, where: str) -> None:
    """Refuse a base whose logits are not what `hidden` and `head` make of it: soft caps, scales, biases, windows."""
    row = TokenizedExample([number % network.get_input_embeddings().num_embeddings for number in range(1, 12)], 1)
    pair = [row, TokenizedExample(row.tokens[::-1], 1)]
    was_training = network.training
    network.eval()
    try:
        ours, theirs = _logits(network, pair), _logits_alone(network, pair)
    except (AttributeError, TypeError, ValueError) as error:
        raise Refused(f"the base in {where} is no decoder that packed rows can be given to: {error}") from None
    finally:
        network.train(was_training)
    allowed = SAME_FP32 if head(network).dtype == torch.float32 else SAME
    capped = getattr(network.config, "final_logit_softcapping", None)  # which shows on large logits only
    if capped or not torch.allclose(ours, theirs, atol=allowed * max(1.0, float(theirs.abs().max())), rtol=0):
        raise Refused(
            f"the base in {where} makes its logits in a way that is not known here (a soft cap, a scale or a bias of "
            "its head): take a base of another family, such as Llama, Qwen or Mistral"
        )


def add_lora(
    network: nn.Module, base_name: str, rank: int, alpha: float, dropout: float, rank_stabilised: bool, dora: bool
) -> nn.Module:
    """LoRA (Hu et al. 2021) on every linear layer but the head; rsLoRA: Kalajdzievski 2023; DoRA: Liu et al. 2024."""
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
    return _adapted(network, config, base_name)


def add_ia3(network: nn.Module, base_name: str) -> nn.Module:
    """One learned factor for each key, value and inner feed-forward unit (Liu et al. 2022)."""
    from peft import IA3Config

    try:
        return _adapted(network, IA3Config(task_type="CAUSAL_LM", base_model_name_or_path=base_name), base_name)
    except ValueError as error:
        raise Refused(f"train.method ia3 does not know where to put its factors in this base: {error}") from None


def add_prompt(network: nn.Module, base_name: str, virtual_tokens: int) -> nn.Module:
    """Learned vectors before each row (Lester et al. 2021); they start as those of tokens drawn by lot."""
    from peft import PromptTuningConfig

    config = PromptTuningConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=virtual_tokens,
        prompt_tuning_init="SAMPLE_VOCAB",
        base_model_name_or_path=base_name,
    )
    return _adapted(network, config, base_name)


def _adapted(network: nn.Module, config: Any, base_name: str) -> nn.Module:
    from peft import get_peft_model

    network.name_or_path = base_name  # type: ignore[assignment]  # else PEFT writes a path of this machine
    with classifier.quiet():
        return get_peft_model(network, config)


# ---------------------------------------------------------------- the one forward


def hidden_states(network: nn.Module, rows: PackedBatch, change: Change | None = None) -> torch.Tensor:
    """[tokens, width], after the last norm: what the head makes logits of. `change` is applied to the embeddings."""
    whole = _below_adapter(network)
    embedded = whole.get_input_embeddings()(rows.ids)
    if change:
        embedded = change(embedded, rows)
    virtual = _virtual(network)
    if virtual is not None:  # `led` has left room for them
        at = rows.positions.clamp(max=len(virtual) - 1)
        embedded = torch.where((rows.positions < len(virtual))[..., None], virtual[at].to(embedded.dtype), embedded)
    out = body(network)(
        inputs_embeds=embedded,
        position_ids=rows.positions,
        cu_seq_lens_q=rows.cuts,
        max_length_q=rows.longest,
        use_cache=False,
    )
    return out.last_hidden_state[0]


def autocast(network: nn.Module, precision: str) -> torch.autocast:
    """Weights that learn in float32 (method full) are multiplied in bf16 where `precision` says so."""
    weight = head(network)
    wanted = weight.dtype == torch.float32 and weight_dtype(precision, weight.device) == torch.bfloat16
    return torch.autocast(weight.device.type, dtype=torch.bfloat16, enabled=wanted)


def with_virtual_tokens(rows: Sequence[TokenizedExample], network: nn.Module) -> Sequence[TokenizedExample]:
    """The rows as `hidden` wants them: under prompt tuning with room for the virtual tokens before each."""
    virtual = _virtual(network)
    count = 0 if virtual is None else len(virtual)
    return [TokenizedExample([0] * count + row.tokens, count + row.prompt) for row in rows] if count else rows


def body(network: nn.Module) -> Any:
    """The network below the head, adapters and all."""
    whole = _below_adapter(network)
    return getattr(whole, whole.base_model_prefix)


def head(network: nn.Module) -> torch.Tensor:
    """[vocabulary, width]"""
    return _below_adapter(network).get_output_embeddings().weight


def _below_adapter(network: Any) -> Any:
    return network.get_base_model() if hasattr(network, "peft_config") else network


def _virtual(network: Any) -> torch.Tensor | None:
    """[virtual tokens, width] of prompt tuning."""
    encoders = getattr(network, "prompt_encoder", None)
    return encoders[network.active_adapter].embedding.weight if encoders else None


def _device(network: Any) -> torch.device:
    return network.get_input_embeddings().weight.device


@torch.inference_mode()
def likelihood(
    network: nn.Module, rows: Sequence[TokenizedExample], batch_size: int, precision: str = "auto"
) -> Likelihood:
    """How likely the network holds the supervised tokens of each row. Rows of like length share a batch."""
    was_training = network.training
    network.eval()
    ready, device = with_virtual_tokens(rows, network), head(network).device
    nll, tokens = np.zeros(len(rows)), np.array([supervised(row) for row in rows], dtype=np.int64)
    order = sorted(range(len(rows)), key=lambda row: (len(rows[row].tokens), row))
    for start in range(0, len(order), batch_size):
        own = order[start : start + batch_size]
        batch = pack([ready[row] for row in own], device)
        with autocast(network, precision):
            losses = _token_losses(hidden_states(network, batch)[batch.where], head(network), batch.targets)
        owner = np.repeat(np.arange(len(own)), tokens[own])
        nll[own] = np.bincount(owner, weights=losses, minlength=len(own))
    network.train(was_training)
    return Likelihood(nll, tokens)


def _token_losses(vectors: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
    parts = [
        nn.functional.cross_entropy((part.to(head.dtype) @ head.t()).float(), wanted, reduction="none")
        for part, wanted in zip(vectors.split(CHUNK), targets.split(CHUNK), strict=True)
    ]
    return torch.cat(parts).double().cpu().numpy() if parts else np.zeros(0)


# ---------------------------------------------------------------- folders


def save(folder: Path, card: CausalLMManifest, tokenizer: Any, network: Any) -> None:
    """Write a model folder; the same weights always give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    classifier.save_tokenizer(tokenizer, folder / "tokenizer")
    if card.method == "full":
        network.save_pretrained(folder / "decoder")
    else:
        classifier.save_adapter(network, folder / "adapter")
    write(card, folder)


def load(folder: Path, device: str = "auto") -> CausalLM:
    """The decoder of a model folder, ready to answer."""
    return _loaded(folder, device)


@torch.inference_mode()
def merge(own: CausalLM, rows: Sequence[TokenizedExample]) -> tuple[float, float]:
    """Add the adapter into the weights, as some servers want it.

    Returns how far the logits of `rows` moved by that, and how far two ways to the same logits are apart in this very
    network, packed rows and each alone: both as a share of the largest logit. Nothing moves where there is no adapter
    to add: everything learned, or a learned prompt stands before each row.
    Raises Refused if they moved more than MERGED times as far as that, and by more than SAME_FP32.
    """
    if own.card.method in ("full", "prompt"):
        return 0.0, 0.0
    before, alone = _logits(own.network, rows), _logits_alone(own.network, rows)
    own.network = own.network.merge_and_unload()  # type: ignore[operator]
    largest = float(before.abs().max())
    moved = float((before - _logits(own.network, rows)).abs().max()) / largest
    apart = float((before - alone).abs().max()) / largest
    if not moved <= max(MERGED * apart, SAME_FP32):
        raise Refused(
            f"merged into its base, the adapter gives other logits: they move by {moved:.2g} of the largest, and two "
            f"ways to the same logits are {apart:.2g} apart. The base may be kept in too few bits for it: see "
            "train.precision and train.method"
        )
    return moved, apart


def _logits(network: nn.Module, rows: Sequence[TokenizedExample]) -> torch.Tensor:
    """[tokens of all rows, vocabulary], of the rows in one pack."""
    return (hidden_states(network, pack(rows, _device(network))) @ head(network).t()).float()


def _logits_alone(network: Any, rows: Sequence[TokenizedExample]) -> torch.Tensor:
    """The same by transformers' own forward, row by row."""
    device = _device(network)
    network.set_attn_implementation("sdpa")
    try:
        each = [network(torch.tensor([row.tokens], device=device), use_cache=False).logits[0].float() for row in rows]
    finally:
        network.set_attn_implementation(attention.NAME)
    return torch.cat(each)


def load_base_model(folder: Path, device: str = "auto") -> CausalLM:
    """The base of a model folder under the same template, as if nothing had been learned."""
    card, where = read_causal_lm(folder), classifier.pick_device(device)
    _, network = load_base(card.base_name, card.base_sha256, "auto", where)
    return CausalLM(card, classifier.load_tokenizer(folder / "tokenizer"), network.eval())


def load_to_train(folder: Path, device: str, precision: str, dropout: float) -> CausalLM:
    """The same, its LoRA adapter to be trained on with this dropout."""
    return _loaded(folder, device, precision, dropout)


def _loaded(folder: Path, device: str, precision: str = "auto", dropout: float | None = None) -> CausalLM:
    """`dropout`: of the adapter, to train on; None: only to be asked."""
    card, where = read_causal_lm(folder), classifier.pick_device(device)
    tokenizer = classifier.load_tokenizer(folder / "tokenizer")
    if card.method == "full":
        network = _network(folder / "decoder", weight_dtype(precision, where), where)
    else:
        from peft import PeftConfig, PeftModel

        config = PeftConfig.from_pretrained(folder / "adapter")
        if dropout is not None:
            config.lora_dropout = dropout
        _, network = load_base(card.base_name, card.base_sha256, precision, where, card.method == "qlora")
        network.name_or_path = card.base_name  # type: ignore[assignment]  # as when the adapter was made
        train = dropout is not None
        with classifier.quiet():
            network = PeftModel.from_pretrained(network, folder / "adapter", is_trainable=train, config=config)
    return CausalLM(card, tokenizer, network.train(dropout is not None))
