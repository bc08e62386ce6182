"""The model: a pretrained encoder, the mean of its tokens, and one linear head. Adapter of transformers and PEFT.

A model folder holds safetensors and JSON, never a pickle:

    model.json            method, labels, base, max_tokens, temperature
    head.safetensors      weight [labels, width], bias [labels]
    probe.safetensors     the same for the frozen base: the baseline, from which the head started
    tokenizer/            as transformers writes it
    encoder/              method full: the whole tuned encoder
    rows.safetensors      vectors of the rows learned from (`row_vectors`), unless params want none
    adapter/              method lora: the adapter in PEFT's format, for the base that model.json names

`probe` and `lora` need the base again when they load. They find it by name, and raise Refused if its weights do not
have the recorded sha256.
"""

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from retune.errors import Refused, WrongUse
from retune.models import base_model, chat_template
from retune.models.manifest import ClassifierManifest, read_classifier, write

Tokens = list[list[int]]


@dataclass(frozen=True)
class Predictions:
    labels: list[str]
    confidence: np.ndarray  # [rows], the probability of the predicted label
    tokens: np.ndarray | None = None  # [rows], number of generated tokens with the end; None for labels


class Encoder(nn.Module):
    """Maps token ids to one vector of length 1 per text."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """ids, mask: [texts, tokens], mask is 1 for a token and 0 for padding. Returns [texts, width]."""
        hidden = self.network(input_ids=ids, attention_mask=mask).last_hidden_state
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)
        return nn.functional.normalize(mean.float(), dim=-1)


@dataclass
class Classifier:
    """A loaded model folder: predicts labels for texts."""

    manifest: ClassifierManifest
    tokenizer: Any
    encoder: Encoder
    head: nn.Linear

    def predict(self, texts: Sequence[str], batch_size: int = 64) -> Predictions:
        return self.answer(self.embed(texts, batch_size))

    def answer(self, vectors: torch.Tensor) -> Predictions:
        """The same of vectors that `embed` gave."""
        return predict_labels(vectors, self.head, self.manifest.labels, self.manifest.temperature)

    def embed(self, texts: Sequence[str], batch_size: int = 64) -> torch.Tensor:
        return embed(self.encoder, self.tokenizer, texts, self.manifest.max_tokens, batch_size)


def predict_labels(
    vectors: torch.Tensor, head: nn.Linear, labels: Sequence[str], temperature: float = 1.0
) -> Predictions:
    """The most probable label of each vector [rows, width], and its probability: softmax of logits / temperature.

    Raises Refused for a model whose weights give no numbers.
    """
    probability = (logits_of(vectors, head) / temperature).softmax(-1).numpy()
    if broken := int((~np.isfinite(probability).all(axis=-1)).sum()):
        raise Refused(
            f"the model gives no number for {broken} of {len(probability)} texts",
            remedy="its training diverged or its weights are damaged, so train it again with a lower learning rate",
        )
    best = probability.argmax(-1)
    return Predictions([labels[i] for i in best], probability.max(-1))


def logits_of(vectors: torch.Tensor, head: nn.Linear) -> torch.Tensor:
    """[rows, labels], float32, on the CPU."""
    with torch.no_grad():
        logits: torch.Tensor = head(vectors.to(head.weight.device)).float().cpu()
    return logits


def load_base(name: str, sha256: str, dropout: float = 0.0) -> tuple[Any, nn.Module]:
    """The tokenizer and the network of a base, float32. Raises Refused if its weights do not have this sha256."""
    folder = checked_base(name, sha256)
    return chat_template.load(folder), _network(folder, dropout)


def checked_base(name: str, sha256: str) -> Path:
    """The folder of a base. Raises Refused if its weights do not have this sha256."""
    folder = base_model.find(name)
    sha256_now = base_model.weights_sha256(folder)
    if sha256_now != sha256:
        raise Refused(
            f"the weights of the base {name} in {folder} have sha256 {sha256_now}, not {sha256}: restore that base, "
            "or write the new hash into train.base.sha256 if the change is intended"
        )
    return folder


def _network(folder: Path, dropout: float = 0.0) -> nn.Module:
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    # Only on hidden states: dropout inside attention prevents the CPU's fused kernel.
    for key in ("hidden_dropout_prob", "dropout"):
        if hasattr(config, key):
            setattr(config, key, dropout)
    for key in ("attention_probs_dropout_prob", "attention_dropout"):
        if hasattr(config, key):
            setattr(config, key, 0.0)
    network: nn.Module = AutoModel.from_pretrained(
        folder,
        config=config,
        dtype=torch.float32,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
    )
    return network


def tokenize(tokenizer: Any, texts: Sequence[str], max_tokens: int) -> Tokens:
    return tokenizer(list(texts), truncation=True, max_length=max_tokens)["input_ids"] if len(texts) else []


def batch(tokens: Tokens, pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """ids and mask [texts, longest], padded to the longest of this batch."""
    longest = max(len(ids) for ids in tokens)
    ids = torch.full((len(tokens), longest), pad, dtype=torch.long)
    mask = torch.zeros((len(tokens), longest), dtype=torch.long)
    for row, row_tokens in enumerate(tokens):
        ids[row, : len(row_tokens)] = torch.tensor(row_tokens)
        mask[row, : len(row_tokens)] = 1
    return ids.to(device), mask.to(device)


def embed(encoder: Encoder, tokenizer: Any, texts: Sequence[str], max_tokens: int, batch_size: int) -> torch.Tensor:
    """One vector of length 1 per text: [texts, width], on the CPU. Texts of similar length share a batch."""
    return embed_tokens(encoder, tokenize(tokenizer, texts, max_tokens), pad_id(tokenizer), batch_size)


def embed_tokens(encoder: Encoder, tokens: Tokens, pad: int, batch_size: int) -> torch.Tensor:
    """The same for token ids."""
    device = next(encoder.parameters()).device
    order = sorted(range(len(tokens)), key=lambda row: (len(tokens[row]), row))
    width: int = encoder.network.config.hidden_size  # type: ignore
    vectors = torch.empty((len(tokens), width))
    was_training = encoder.training
    encoder.eval()
    with torch.inference_mode(), autocast(device):
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            vectors[rows] = encoder(*batch([tokens[row] for row in rows], pad, device)).cpu()
    encoder.train(was_training)
    return vectors


def pad_id(tokenizer: Any) -> int:
    return tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0


def autocast(device: torch.device, precision: str = "auto") -> torch.autocast:
    """bf16 arithmetic on CUDA unless `precision` differs, otherwise float32. The weights stay float32."""
    bf16 = precision == "bf16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16)


def pick_device(device: str) -> torch.device:
    if device == "cuda" and not torch.cuda.is_available():
        raise WrongUse("train.device is cuda, but this machine has no CUDA device: use auto or cpu")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def head_of_names(names: list[str], encode: Callable[[list[str]], torch.Tensor], scale: float = 20.0) -> nn.Linear:
    """A head that predicts the label with the nearest of `names`, one a label: the base without tuning.

    `scale` turns cosines into logits; 20 is the usual value in sentence-transformers' ranking loss.
    """
    return linear(encode(names) * scale, torch.zeros(len(names)))


def linear(weight: torch.Tensor, bias: torch.Tensor) -> nn.Linear:
    head = nn.Linear(weight.shape[1], weight.shape[0])
    head.load_state_dict({"weight": weight.float(), "bias": bias.float()})
    return head


def add_adapter(network: nn.Module, rank: int, alpha: int, dropout: float, base_name: str) -> nn.Module:
    """A LoRA adapter (Hu et al. 2021) on every linear layer except the unused pooler."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules="all-linear",
        exclude_modules=r".*pooler.*",
        base_model_name_or_path=base_name,
    )
    network.name_or_path = base_name  # type: ignore[assignment]  # else PEFT writes a path of this machine into the adapter
    with quiet():
        adapted: nn.Module = get_peft_model(network, config)
    return adapted


def save(
    folder: Path, manifest: ClassifierManifest, tokenizer: Any, encoder: Encoder, head: nn.Linear, probe: nn.Linear
) -> None:
    """Write a model folder; the same weights always give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    save_tokenizer(tokenizer, folder / "tokenizer")
    if manifest.method == "full":
        encoder.network.save_pretrained(folder / "encoder")  # type: ignore[operator]
    elif manifest.method == "lora":
        save_adapter(encoder.network, folder / "adapter")
    save_file(_state(head), folder / "head.safetensors")
    save_file(_state(probe), folder / "probe.safetensors")
    write(manifest, folder)


@contextmanager
def quiet() -> Iterator[None]:
    """Hides the warning of transformers about an old name that PEFT uses."""
    old = "`is_gradient_checkpointing` is deprecated"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", old, FutureWarning)
        yield


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    if backend := getattr(tokenizer, "backend_tokenizer", None):  # one that is written in Python has none
        backend.no_truncation()  # else the tokenizer is saved with the length of the last call
    tokenizer.save_pretrained(folder)


def save_adapter(network: Any, folder: Path) -> None:
    network.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty form
    config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    for key in ("target_modules", "feedforward_modules"):  # sets, whose order changes from run to run
        if isinstance(config.get(key), list):
            config[key] = sorted(config[key])
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")


def _state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}


def load(folder: Path, device: str = "auto") -> Classifier:
    """The classifier of a model folder, ready to predict."""
    manifest = read_classifier(folder)
    if manifest.method == "full":
        network = _network(folder / "encoder")
    else:
        _, network = load_base(manifest.base_name, manifest.base_sha256)
    if manifest.method == "lora":
        from peft import PeftModel

        with quiet():
            network = PeftModel.from_pretrained(network, folder / "adapter").merge_and_unload()
    return _classifier(manifest, folder, network, "head.safetensors", pick_device(device))


def load_to_train(folder: Path, dropout: float, adapter_dropout: float) -> tuple[nn.Module, nn.Linear]:
    """The network and head of a folder of method full or lora, for further training: an adapter stays separate."""
    manifest, values = read_classifier(folder), load_file(folder / "head.safetensors")
    head = linear(values["weight"], values["bias"])
    if manifest.method == "full":
        return _network(folder / "encoder", dropout), head
    from peft import LoraConfig, PeftModel

    _, network = load_base(manifest.base_name, manifest.base_sha256, dropout)
    network.name_or_path = manifest.base_name  # type: ignore[assignment]  # as when the adapter was made
    config = LoraConfig.from_pretrained(folder / "adapter")
    config.lora_dropout = adapter_dropout
    with quiet():
        return PeftModel.from_pretrained(network, folder / "adapter", is_trainable=True, config=config), head


def load_probe(folder: Path, device: str = "auto") -> Classifier:
    """The probe inside a model folder: the untouched base under its logistic regression."""
    manifest = read_classifier(folder)
    _, network = load_base(manifest.base_name, manifest.base_sha256)
    return _classifier(manifest, folder, network, "probe.safetensors", pick_device(device))


def _classifier(
    manifest: ClassifierManifest, folder: Path, network: nn.Module, head: str, device: torch.device
) -> Classifier:
    encoder = Encoder(network).eval().to(device)
    values = load_file(folder / head)
    return Classifier(
        manifest, chat_template.load(folder / "tokenizer"), encoder, linear(values["weight"], values["bias"]).to(device)
    )


def trainable(modules: dict[str, nn.Module]) -> Iterator[tuple[str, nn.Parameter]]:
    """Every trained parameter by its name."""
    for prefix, module in modules.items():
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                yield f"{prefix}.{name}", parameter
