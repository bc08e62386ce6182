"""How long may the threads of a training step spin for each other? What that costs alone, and beside other work.

    python bench/threads.py [--threads 2] [--steps 20] [--rounds 3] [--json FILE]

torch's threads meet at a barrier after each part of a step, and libgomp lets those that come first spin there, by
default some 300,000 times. Alone, that is the quickest. Where another process has the core of the thread that they
wait for, all of them burn their time: a step takes many times as long as its share of the machine would ask for. So
`flows/project/environment.py` sets GOMP_SPINCOUNT, unless the user has chosen. The value has to cost at most 5 % on a
quiet machine and to stay within 2.5 times of that beside two busy processes; this says which of the candidates do.

A step: the default base, 32 rows of 18 tokens, forwards, backwards and AdamW. Each candidate computes in a process of
its own, since libgomp reads its variables when it is loaded: quiet, beside one and beside two processes that do nothing
but work. Prints the median seconds of a step, the best of the rounds, in which the candidates take turns. Ends with 1
if a candidate comes to other bits than the default. Wants as many cores as threads, and nobody else on them.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

CANDIDATES = {
    "default": {},
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
    "GOMP_SPINCOUNT=1000": {"GOMP_SPINCOUNT": "1000"},
    "GOMP_SPINCOUNT=100": {"GOMP_SPINCOUNT": "100"},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
}
BUSY = (0, 1, 2)  # processes beside it
ROWS, TOKENS = 32, 18
COST, SLOWDOWN = 1.05, 2.5  # the most that is allowed: of the default alone, and beside two of itself alone


def train(steps: int) -> tuple[float, str]:
    """The median seconds of a step, and a hash of all losses and weights at the end."""
    import torch
    import yaml

    from retune.models import classifier
    from tasks.train.context import make_deterministic

    base = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))["train"]["base"]
    make_deterministic(17)
    _, network = classifier.load_base(**base)
    network.train()
    head = torch.nn.Linear(network.config.hidden_size, 77)
    optimizer = torch.optim.AdamW([*network.parameters(), *head.parameters()], lr=1e-4)
    ids = torch.randint(1000, network.config.vocab_size, (ROWS, TOKENS))
    labels = torch.randint(0, 77, (ROWS,))
    digest, seconds = hashlib.sha256(), []
    for _ in range(steps + 3):  # the first three warm up
        start = time.monotonic()
        vectors = network(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.mean(1)
        loss = torch.nn.functional.cross_entropy(head(vectors), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(time.monotonic() - start)
        digest.update(loss.detach().numpy().tobytes())
    for weights in network.parameters():
        digest.update(weights.detach().numpy().tobytes())
    return median(seconds[3:]), digest.hexdigest()


@contextmanager
def busy(count: int) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measure(threads: int, steps: int, rounds: int) -> tuple[dict[str, list[float]], dict[str, set[str]]]:
    """For each candidate the seconds of a step for each count of busy processes, and the hashes of its results."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    seconds = {name: [float("inf")] * len(BUSY) for name in CANDIDATES}
    hashes: dict[str, set[str]] = {name: set() for name in CANDIDATES}
    for _ in range(rounds):
        for place, count in enumerate(BUSY):
            for name, variables in CANDIDATES.items():
                environment = {**plain, "OMP_NUM_THREADS": str(threads), **variables}
                command = [sys.executable, __file__, "--steps", str(steps), "--train"]
                with busy(count):
                    process = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
                step, bits = json.loads(process.stdout.splitlines()[-1])
                seconds[name][place] = min(seconds[name][place], step)
                hashes[name].add(bits)
    return seconds, hashes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20, help="that are timed, of each process")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)  # one process of a candidate
    options = parser.parse_args()
    if options.train:
        print(json.dumps(train(options.steps)))
        return
    seconds, hashes = measure(options.threads, options.steps, options.rounds)
    print(f"{'seconds a step':26}{'quiet':>8}{'one':>8}{'two':>8}{'quiet/default':>15}{'two/quiet':>11}")
    for name, (quiet, one, two) in seconds.items():
        cost, slowdown = quiet / seconds["default"][0], two / quiet
        fits = "  fits" if cost <= COST and slowdown <= SLOWDOWN else ""
        print(f"{name:26}{quiet:8.3f}{one:8.3f}{two:8.3f}{cost:15.2f}{slowdown:11.2f}{fits}")
    if options.json:
        options.json.write_text(json.dumps(seconds, indent=2) + "\n", "utf-8")
    if len(set.union(*hashes.values())) > 1:
        sys.exit(f"not the same bits: {hashes}")
    print("the same bits, all of them")


if __name__ == "__main__":
    main()
