"""Train a small decoder from scratch: a base to try `task: instruct` and `task: prefer` on where none can be fetched.

    python bench/small_decoder.py FOLDER [--text FOLDER_OF_TEXT] [--steps 450]

A few minutes. Into FOLDER goes what `train.base.name: folder:<its absolute path>` names: config.json,
model.safetensors and the files of a tokenizer made from the same text. The last line printed is the sha256 for
`train.base.sha256`. It has the shape of Llama (RMSNorm, rotary positions, grouped queries, SwiGLU) and 2.4 million
parameters; the tokenizer is byte-level BPE with its own mark for the end, and another for padding.

It writes readable sentences about the shop of small_text.py and knows nothing else. That is its use: on
tests/samples/replies.csv it is weak, so that tuning has something to show. Figures from it say whether the road
works, never how well a real base would do.

Same text, steps, processor and version of torch: the same bytes. It takes one thread, for two add up in another order,
and on a machine that others use two are slower than one.
"""

import argparse
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from small_text import documents
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from retune.models.base_model import weights_sha256

SEED = 17
DOCUMENTS = 30_000
VOCABULARY = 2_048
END, PAD, MARKS = "<|endoftext|>", "<|pad|>", ("<|im_start|>", "<|im_end|>")
CONTEXT, ROWS = 256, 8  # tokens of a sequence, sequences of a step
RATE, WARMUP, DECAY, CLIP = 3e-3, 40, 0.05, 1.0
CARD = """---
license: apache-2.0
---
A decoder of {parameters:,} parameters, made by Retune's bench/small_decoder.py from {what}. It is for trying
things out and good for nothing else.
"""


def own_text(folder: Path) -> list[str]:
    """The .txt and .md files below a folder, in the order of their paths."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".txt", ".md"))
    if not files:
        sys.exit(f"{folder} holds no .txt and no .md file: name a folder that does")
    return [path.read_text("utf-8") for path in files]


def tokenizer_of(texts: list[str]) -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END, PAD, *MARKS],
        initial_alphabet=sorted(alphabet),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(MARKS),
        model_max_length=CONTEXT * 4,
    )


def network_of(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT * 4,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config)


def stream(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> torch.Tensor:
    """[sequences, CONTEXT]: all documents end to end, each closed by the mark of the end."""
    tokens = [token for ids in tokenizer(texts)["input_ids"] for token in (*ids, tokenizer.eos_token_id)]
    whole = len(tokens) // CONTEXT
    return torch.tensor(tokens[: whole * CONTEXT]).view(whole, CONTEXT)


def rate(step: int, steps: int) -> float:
    """A share of RATE: up in a line, down in half a cosine to a tenth."""
    if step < WARMUP:
        return (step + 1) / WARMUP
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - WARMUP) / max(steps - WARMUP, 1)))


def train(network: Any, sequences: torch.Tensor, steps: int) -> float:
    """The loss of the last step, nats a token."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, steps))
    generator, start, value = torch.Generator().manual_seed(SEED), time.monotonic(), math.nan
    rounds = steps * ROWS // len(sequences) + 1
    order = torch.cat([torch.randperm(len(sequences), generator=generator) for _ in range(rounds)])
    network.train()
    for step in range(steps):
        batch = sequences[order[step * ROWS : (step + 1) * ROWS]]
        loss = network(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        value = loss.item()
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step}: loss {value:.3f}, {time.monotonic() - start:.0f} s", flush=True)
    return value


def make(folder: Path, texts: list[str], what: str, steps: int) -> str:
    """Write the base folder and return the sha256 of its weights."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)
    tokenizer = tokenizer_of(texts)
    network = network_of(tokenizer)
    train(network, stream(tokenizer, texts), steps)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    network.save_pretrained(folder)
    parameters = sum(each.numel() for each in network.parameters())
    (folder / "README.md").write_text(CARD.format(parameters=parameters, what=what), "utf-8")
    return weights_sha256(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--text", type=Path, help="a folder of .txt and .md files to learn from as well")
    parser.add_argument("--steps", type=int, default=450)
    options = parser.parse_args()
    texts, what = documents(SEED, DOCUMENTS), "invented text"
    if options.text:
        texts, what = [*texts, *own_text(options.text)], f"invented text and that of {options.text.name}"
    print(make(options.folder, texts, what, options.steps))


if __name__ == "__main__":
    main()
