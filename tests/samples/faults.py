"""Faults that are planted in the sample: each function returns new tickets and the entries of the answer key."""

import random
import unicodedata
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

from tests.samples.bodies import EITHER, PHRASES, SIZES, Ticket, distinct, either_body

AMBIGUOUS = 100
EXACT_COPIES, NEAR_COPIES, TWO_LABELS, PERSONAL = 30, 25, 8, 48

Planted = tuple[list[Ticket], list[Any]]


def later(rng: random.Random, ticket: Ticket, body: str, stranger: str) -> Ticket:
    """The same message sent again some days later, mostly by the same customer."""
    customer = ticket.customer if rng.random() < 0.6 else stranger
    return Ticket(ticket.queue, body, customer, ticket.created + timedelta(rng.randrange(6)))


def exact_copies(rng: random.Random, clear: Iterator[Ticket], customers: Iterator[str]) -> Planted:
    originals = [next(clear) for _ in range(EXACT_COPIES)]
    copies = [later(rng, ticket, ticket.body, next(customers)) for ticket in originals]
    return copies, list(zip(originals, copies, strict=True))


# Each leaves the text the same to a reader, and the same to a program that cleans it.
DISGUISES: tuple[Callable[[str], str], ...] = (
    lambda body: unicodedata.normalize("NFD", body),
    lambda body: body.replace(" ", "  ", 3),
    lambda body: body.replace(" ", "\u0007 ", 1),
    lambda body: body.replace(" ", "\u200b ", 2),
    lambda body: f"  {body}\n",
    lambda body: body.replace(" ", "\u00a0"),
)


def disguised_copies(rng: random.Random, clear: Iterator[Ticket], customers: Iterator[str]) -> Planted:
    originals = [next(clear) for _ in range(3 * len(DISGUISES))]
    for ticket in originals:
        ticket.body = f"{ticket.body} {rng.choice(PHRASES['accented'])}"
    copies = [
        later(rng, ticket, DISGUISES[at % len(DISGUISES)](ticket.body), next(customers))
        for at, ticket in enumerate(originals)
    ]
    return copies, list(zip(originals, copies, strict=True))


def reword(rng: random.Random, body: str) -> str:
    """Add one word and take one short one away; the meaning stays."""
    tokens = body.split()
    tokens.insert(rng.randrange(1, len(tokens)), rng.choice(("really", "just", "again", "actually", "still")))
    small = [at for at, token in enumerate(tokens) if token.lower() in {"the", "a", "so", "and", "my", "please"}]
    if small:
        tokens.pop(rng.choice(small))
    return " ".join(tokens)


def near_copies(rng: random.Random, clear: Iterator[Ticket], customers: Iterator[str]) -> Planted:
    long = (ticket for ticket in clear if len(ticket.body.split()) >= 20)
    originals = [next(long) for _ in range(NEAR_COPIES)]
    copies = [later(rng, ticket, reword(rng, ticket.body), next(customers)) for ticket in originals]
    return copies, list(zip(originals, copies, strict=True))


def two_labels(rng: random.Random, clear: Iterator[Ticket], customers: Iterator[str]) -> Planted:
    """One text that two or three agents filed under different queues."""
    added, groups = [], []
    for at in range(TWO_LABELS):
        first = next(clear)
        near = [b if a == first.queue else a for a, b in EITHER if first.queue in (a, b)]
        far = [queue for queue in SIZES if queue != first.queue and queue not in near]
        again = [later(rng, first, first.body, next(customers)) for _ in range(2 if at % 4 == 3 else 1)]
        for ticket, queue in zip(again, (rng.choice(near), rng.choice(far)), strict=False):
            ticket.queue = queue
        added += again
        groups.append((first, *again))
    return added, groups


def private_value(rng: random.Random, kind: str, name: str) -> str:
    if kind == "email":
        return f"{name.lower().replace(' ', '.')}@{rng.choice(('example.com', 'example.org', 'example.net'))}"
    if kind == "phone":  # number ranges kept free for fiction
        us, uk = f"555-01{rng.randrange(100):02}", f"20 7946 0{rng.randrange(1000):03}"
        return rng.choice((f"+1-202-{us}", f"(202) {us}", f"+44 {uk}", f"0{uk}"))
    if kind == "iban":
        return rng.choice((str, lambda value: value.replace(" ", "")))(rng.choice(PHRASES["ibans"]))
    if kind == "card":
        return rng.choice(PHRASES["cards"]).replace(" ", rng.choice((" ", "-", "")))
    return name


def personal_data(rng: random.Random, clear: Iterator[Ticket]) -> Planted:
    """Contact and bank details at the end of the message; every fourth is signed as well."""
    spans = []
    kinds = tuple(PHRASES["mentions"])
    for at in range(PERSONAL):
        ticket, name = next(clear), f"{rng.choice(PHRASES['first_names'])} {rng.choice(PHRASES['last_names'])}"
        kind = kinds[at % len(kinds)]
        for kind_or_name in (kind, "name") if at % 4 == 0 and kind != "name" else (kind,):
            value = private_value(rng, kind_or_name, name)
            ticket.body += " " + rng.choice(PHRASES["mentions"][kind_or_name]).format(value)
            spans.append({"id": ticket, "kind": kind_or_name, "value": value})
    return [], spans


def pasted_log(rng: random.Random, body: str) -> str:
    lines = [body]
    while sum(map(len, lines)) < 21_000:
        stamp = f"{rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}"
        lines.append(f"{stamp} wan link {rng.choice(('up', 'down', 'retry', 'timeout'))} {rng.randrange(10**6)}")
    return "\n".join(lines)


def random_day(rng: random.Random) -> date:
    return date(2025, 1, 1) + timedelta(rng.randrange(365))


def new_tickets(rng: random.Random, bodies: tuple[str, ...], customers: Iterator[str]) -> Planted:
    tickets = [Ticket(rng.choice(tuple(SIZES)), body, next(customers), random_day(rng)) for body in bodies]
    return tickets, tickets


def relabelled(clear: Iterator[Ticket], queues: tuple[str, ...]) -> Planted:
    tickets = [next(clear) for _ in queues]
    for ticket, queue in zip(tickets, queues, strict=True):
        ticket.queue = queue
    return [], tickets


def too_long(rng: random.Random, clear: Iterator[Ticket]) -> Planted:
    tickets = [next(clear), next(clear)]
    for ticket in tickets:
        ticket.body = pasted_log(rng, ticket.body)
    return [], tickets


def ambiguous_tickets(rng: random.Random, customers: Iterator[str]) -> Planted:
    tickets, entries, word_sets = [], [], []
    for at in range(AMBIGUOUS):
        pair = tuple(EITHER)[at % len(EITHER)]
        body = distinct(lambda p=pair: either_body(rng, p), word_sets)
        tickets.append(Ticket(rng.choice(pair), body, next(customers), random_day(rng)))
        entries.append({"id": tickets[-1], "queues": list(pair)})
    return tickets, entries
