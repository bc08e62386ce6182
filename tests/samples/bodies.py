"""The text of a ticket: phrases put together as people write, with greetings, needless details and typing errors."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml

PHRASES: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("phrases.yaml").read_text("utf-8"))
EITHER = {tuple(entry["queues"]): entry["phrases"] for entry in PHRASES["either"]}

# Clear tickets a queue; faults and ambiguous tickets come on top.
SIZES = {
    "billing": 425,
    "delivery": 345,
    "technical_faults": 305,
    "refunds": 255,
    "returns": 210,
    "sign_in": 180,
    "tariffs": 145,
    "order_changes": 125,
    "contract_end": 105,
    "setup": 85,
    "customer_data": 70,
    "complaints": 58,
}

# The share of tickets of each build (see `clear_body`); these set how hard the sample is.
PLAIN, BACKGROUND, CONTRAST = 0.44, 0.34, 0.22

# Two tickets of one queue share at most this part of their words, unless one is a planted copy.
ALIKE = 0.6


@dataclass(eq=False)  # two tickets with the same words are still two tickets
class Ticket:
    queue: str
    body: str
    customer: str = ""
    created: date = date.min


def fill(rng: random.Random, phrase: str) -> str:
    """Put a random value into each slot, none twice, and a capital where the phrase starts."""
    slots = re.findall(r"\{(\w+)\}", phrase)
    values = {slot: rng.sample(PHRASES["slots"][slot], slots.count(slot)) for slot in dict.fromkeys(slots)}
    filled = re.sub(r"\{(\w+)\}", lambda slot: values[slot[1]].pop(), phrase)
    return filled[:1].upper() + filled[1:]


def contrast(rng: random.Random, queue: str, other: str) -> str:
    asks, aside = rng.choice(PHRASES["matters"][queue]), rng.choice(PHRASES["matters"][other])
    sentence = rng.choice(PHRASES["contrasts"]).replace("{asks}", asks).replace("{aside}", aside)
    return re.sub(r"(?<=[.?] )[a-z]", lambda letter: letter[0].upper(), fill(rng, sentence))


def ask_with_background(rng: random.Random, ask: str, other: str) -> str:
    ask, settled = fill(rng, ask), fill(rng, rng.choice(PHRASES["settled"][other]))
    if rng.random() < 0.5:
        return f"{settled} {ask}"
    return f"{ask} {rng.choice(('By the way:', 'Otherwise fine.', 'Before you ask:', ''))} {settled}"


def clear_body(rng: random.Random, queue: str) -> str:
    other = rng.choice([name for name in SIZES if name != queue])
    build = rng.choices(("plain", "background", "contrast"), (PLAIN, BACKGROUND, CONTRAST))[0]
    if build == "contrast":
        return dress(rng, contrast(rng, queue, other))
    if build == "background":
        return dress(rng, ask_with_background(rng, rng.choice(PHRASES["asks"][queue]), other))
    asks = rng.sample(PHRASES["asks"][queue], rng.choice((1, 1, 2)))
    return dress(rng, " ".join(fill(rng, ask) for ask in asks))


def either_body(rng: random.Random, pair: tuple[str, str]) -> str:
    ask = rng.choice(EITHER[pair])
    if rng.random() < 0.4:
        return dress(rng, fill(rng, ask))
    other = rng.choice([name for name in SIZES if name not in pair])
    return dress(rng, ask_with_background(rng, ask, other))


def dress(rng: random.Random, message: str) -> str:
    """Wrap the message as people do: greeting, a needless detail, a close, haste, typing errors."""
    details = [fill(rng, detail) for detail in rng.sample(PHRASES["details"], rng.choice((0, 0, 1, 1, 2)))]
    before, after = details[:1], details[1:]
    if rng.random() < 0.5:
        before, after = after, before
    opening = [rng.choice(PHRASES["openings"])] if rng.random() < 0.6 else []
    closing = [fill(rng, rng.choice(PHRASES["closings"]))] if rng.random() < 0.5 else []
    body = " ".join(" ".join([*opening, *before, message, *after, *closing]).split())
    return haste(rng, body)


def haste(rng: random.Random, body: str) -> str:
    for _ in range(rng.choice((0, 0, 0, 1, 2, 3))):
        body = mistype(rng, body)
    mood = rng.random()
    if mood < 0.18:
        return body.lower()
    if mood < 0.21:
        return body.upper()
    return re.sub(r"[.,](?=\s|$)", "", body) if mood < 0.28 else body


def mistype(rng: random.Random, body: str) -> str:
    """Swap, drop or double one letter inside a word."""
    inside = [at for at in range(1, len(body) - 2) if body[at - 1 : at + 2].isalpha()]
    at = rng.choice(inside)
    pair = body[at : at + 2]
    return body[:at] + rng.choice((pair[::-1], pair[1], pair[0] + pair)) + body[at + 2 :]


def distinct(make: Callable[[], str], word_sets: list[set[str]]) -> str:
    """Make bodies until one is unlike all seen before, so that no copy exists but those planted."""
    while True:
        body = make()
        words_in = set(re.findall(r"\w+", body.casefold()))
        if all(len(words_in & old) <= ALIKE * len(words_in | old) for old in word_sets):
            word_sets.append(words_in)
            return body
