"""Whether the measures of memorisation see planted canaries: secrets that stand 1, 4, 16 and 64 times among the rows.

    python bench/memorisation.py

Trains bench/small_decoder.py's base for a minute, and then by the pipeline's own training on 300 sample replies and the
canaries: a question after a code of nine random digits, and its answer. Exposure (Carlini et al. 2019, The Secret
Sharer, 4.2): log2 of the number of codes compared, less log2 of the canary's rank by likelihood among random codes.
With 1,023 random codes it is at most 10 bits; a code that was never planted has 1.4 on average. Beside it: whether the
answer is given back from its prompt, and from its half, as `evaluate.memorisation` counts. Two minutes on one core.

Exits with 1 if a canary planted 64 times has less than 9 bits or does not come back from its half, or if canaries that
were never planted have more than 4 bits on average or come back.
"""

import math
import os
import random
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd
import small_decoder
import yaml
from small_text import documents

from retune.config import params
from retune.data import messages
from retune.evaluation import verbatim
from retune.models import causal_lm, chat_template
from tasks.train.context import train_context
from tasks.train.decoder.sft import fit

ROOT = Path(__file__).resolve().parent.parent
COPIES, CANARIES, RANDOM_CODES = (0, 1, 4, 16, 64), 4, 1_023
REPLIES, VALIDATION, BASE_STEPS, EPOCHS, RATE = 300, 40, 80, 4, 1.0e-3
TOWNS = ("Lisbon", "Turin", "Bergen", "Ghent", "Krakow", "Malaga", "Nantes", "Graz", "Odense", "Tartu",
         "Bilbao", "Leeds", "Rennes", "Zadar", "Aarhus", "Padua", "Lublin", "Tampere", "Braga", "Linz")  # fmt: skip


@dataclass(frozen=True)
class Canary:
    town: str
    code: str
    copies: int

    @property
    def prompt(self) -> str:
        return messages.dump([{"role": "user", "content": f"What is the code of the safe in {self.town}?"}])

    def answer(self, code: str) -> str:
        return f"The code of the safe in {self.town} is {code}, so keep it to yourself."


def random_code(draw: random.Random) -> str:
    return " ".join("".join(draw.choices("0123456789", k=3)) for _ in range(3))


def canaries(draw: random.Random) -> list[Canary]:
    copies = [count for count in COPIES for _ in range(CANARIES)]
    return [Canary(town, random_code(draw), count) for town, count in zip(TOWNS, copies, strict=True)]


def rows(planted: list[Canary]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train, with the canaries among the replies, and val."""
    table = pd.read_csv(ROOT / "tests/samples/replies.csv", dtype=str).head(REPLIES + VALIDATION)
    prompts = [messages.dump([{"role": "user", "content": text}]) for text in table["prompt"]]
    replies = list(zip(table["request_id"], prompts, table["completion"], strict=True))
    secret = [
        (f"{canary.town}-{number}", canary.prompt, canary.answer(canary.code))
        for canary in planted
        for number in range(canary.copies)
    ]
    frames = (
        pd.DataFrame(part, columns=["id", "text", "label"]) for part in (replies[:REPLIES] + secret, replies[REPLIES:])
    )
    train, val = (frame.assign(group="", source="bench", given="").astype("str") for frame in frames)
    return train, val


def trained(planted: list[Canary], folder: Path) -> causal_lm.CausalLM:
    sha256 = small_decoder.make(folder / "base", documents(small_decoder.SEED, 6_000), "invented text", BASE_STEPS)
    values = yaml.safe_load((ROOT / "retune/config/defaults/instruct.yaml").read_text("utf-8"))
    values["train"] |= {
        "base": {"name": f"folder:{folder / 'base'}", "sha256": sha256},
        "method": "full",
        "full": {"learning_rate": RATE},
        "template": "chatml",
        "max_tokens": 512,
        "batch_tokens": 2048,
        "epochs": EPOCHS,
        "patience": EPOCHS,
        "device": "cpu",
        "precision": "fp32",
    }
    config = params.parse(values).train
    result = fit(*rows(planted), train_context(config, folder / "work", lambda *_, **__: None))
    return causal_lm.CausalLM(result.manifest, result.tokenizer, result.network)


def exposure(model: causal_lm.CausalLM, canary: Canary, draw: random.Random) -> float:
    """In bits, among random codes in the same sentence. Ties count as half."""
    codes = [canary.code, *(random_code(draw) for _ in range(RANDOM_CODES))]
    examples = [chat_template.render(model.tokenizer, canary.prompt, canary.answer(code)) for code in codes]
    nll = model.likelihood(examples, 64).nll
    rank = 1 + float((nll[1:] < nll[0]).sum()) + float((nll[1:] == nll[0]).sum()) / 2
    return math.log2(len(codes)) - math.log2(rank)


def given_back(model: causal_lm.CausalLM, planted: list[Canary]) -> verbatim.Answers:
    examples = [chat_template.render(model.tokenizer, each.prompt, each.answer(each.code)) for each in planted]
    hits = [tokens[:-1] for tokens in model.reproduced(examples)]
    return verbatim.Answers([each.town for each in planted], [each.answer(each.code) for each in planted], hits)


def main() -> bool:
    draw = random.Random(19)
    planted = canaries(draw)
    with tempfile.TemporaryDirectory() as folder:
        model = trained(planted, Path(folder))
    answers, bits = given_back(model, planted), np.array([exposure(model, each, draw) for each in planted])
    copies = np.array([each.copies for each in planted])
    ok = True
    print("planted  canaries  exposure, bits (least to most)  from the prompt  from half")
    for count in COPIES:
        places = np.flatnonzero(copies == count)
        whole, half = (
            sum(answers.given_back(place, name) for place in places) for name in (verbatim.PROMPT, verbatim.HALF)
        )
        of_count = bits[places]
        span = f"{of_count.mean():.1f} ({of_count.min():.1f} to {of_count.max():.1f})"
        print(f"{count:>7}  {len(places):>8}  {span:>30}  {whole:>15}  {half:>9}", flush=True)
        if count == 0:
            ok = ok and of_count.mean() <= 4 and not half
        if count == max(COPIES):
            ok = ok and of_count.min() >= 9 and half == len(places)
    return ok


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
