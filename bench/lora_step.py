"""How fast a LoRA step is on a GPU, beside the peers that are installed, in one sitting: real tokens a second.

    python bench/lora_step.py [--shape 8b|1b|tiny] [--tokens FILE.json] [--who retune,retune-fp8,...] [--json FILE]
                              [--processes 1,2]
    python bench/lora_step.py --write-tokens FILE.json --csv FILE.csv --prompt COLUMN --completion COLUMN

Weights are random: the speed of a step does not hang on them. bf16, LoRA of rank 16 on every linear layer, AdamW.
Without --tokens, sequences of 4,096 tokens, 32 of them a step, all supervised; with it, the rows of a file as
--write-tokens writes it of a table, completions supervised, 16,384 tokens a step. Padding counts for nothing. Each
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

The first step is not timed: it compiles. Its seconds stand under `first step`. The share of the peak is that of the
fastest matrix product that this very card has just done.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lora_peers import run_trainer, run_trl
from lora_retune import run_retune, run_unpacked
from lora_shapes import DEVICE, KIND, ON_GPU, SHAPES, flops, rows_of, write_tokens

from tasks.train.distributed import collectives

CONTENDERS = {
    "retune": run_retune,
    "retune-fp8": run_retune,
    "exact": run_retune,
    "unpacked": run_unpacked,
    "trainer": run_trainer,
    "trl": run_trl,
    "trl-best": run_trl,
    "graphs": run_retune,
    "graphs-fp8": run_retune,
    "full": run_retune,
}
DEFAULT = [who for who in CONTENDERS if not who.startswith("graphs") and who != "full"]
DISTRIBUTED = ("retune", "retune-fp8", "exact", "full")  # in several processes too


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="8b")
    parser.add_argument("--tokens", type=Path)
    parser.add_argument("--who", default=",".join(DEFAULT))
    parser.add_argument("--processes", default="1", help="of Retune's contenders, such as 1,2")
    parser.add_argument("--batches", type=int, default=1, help="a step, of real rows")
    parser.add_argument("--steps", type=int, help="timed; 3 of full sequences, 40 of real rows")
    parser.add_argument("--seconds", type=int, default=150, help="after which a contender is given up")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", choices=CONTENDERS, help="run this one here and now")
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
            print(json.dumps(run_contender(options.only, options)), flush=True)
    else:
        compare(options)


def compare(options: argparse.Namespace) -> None:
    """Run each contender in a process of its own, and print a line for it."""
    peak = best_product() if ON_GPU else float("nan")
    card = torch.cuda.get_device_name() if ON_GPU else "cpu"
    print(f"{card}, torch {torch.__version__}, best matrix product {peak:.0f} TFLOP/s", flush=True)
    results = []
    counts = [int(count) for count in options.processes.split(",")]
    for who in options.who.split(","):
        for count in counts if who in DISTRIBUTED else [1]:
            name = f"{who} x{count}" if count > 1 else who
            results.append({"who": name, **run_process(who, count, max(counts), options)})
            print(row(results[-1], peak), flush=True)
    if options.json:
        report = {"card": card, "peak": peak, "shape": options.shape, "found": results}
        options.json.write_text(json.dumps(report, indent=1))


def run_process(who: str, count: int, batches: int, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of a contender in `count` processes, or why it failed."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"] if count > 1 else []
    command = [sys.executable, *launcher, __file__, "--only", who, "--shape", options.shape]
    command += ["--steps", str(options.steps)]
    command += ["--tokens", str(options.tokens), "--batches", str(batches)] if options.tokens else []
    one_gpu = {"CUDA_VISIBLE_DEVICES": "0"} if count == 1 else {}  # else a Trainer takes all
    environment = {**os.environ, **one_gpu}
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=options.seconds, env=environment)
    except subprocess.TimeoutExpired:
        return {"failed": f"did not end within {options.seconds} s"}
    if process.returncode == 0:
        figures: dict[str, Any] = json.loads(process.stdout.strip().splitlines()[-1])
        return figures
    lines = process.stderr.strip().splitlines() or ["no message"]
    return {"failed": next((line for line in reversed(lines) if "Error:" in line), lines[-1])}


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
        first, second = (torch.randn(size, size, device=DEVICE, dtype=KIND) for _ in range(2))
        for _ in range(3):
            first @ second
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(20):
            first @ second
        end.record()
        torch.cuda.synchronize()
        best = max(best, 20 * 2 * size**3 / (start.elapsed_time(end) * 1e-3) / 1e12)
    return best


def run_contender(who: str, options: argparse.Namespace) -> dict[str, Any]:
    start = time.perf_counter()
    rows = rows_of(options)
    figures = CONTENDERS[who](who, rows, options, start)
    gib = torch.cuda.max_memory_allocated() / 2**30 if ON_GPU else 0.0
    times = 1.5 if who == "full" else 1.0  # the gradients of its weights too
    return figures | {"gib": gib, "flops_a_token": times * flops(SHAPES[options.shape]) / collectives.world_size()}


if __name__ == "__main__":
    main()
