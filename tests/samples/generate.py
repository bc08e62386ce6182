"""Write the sample that Retune ships: 2,500 invented support tickets and the key to their planted faults.

    python -m tests.samples.generate       # tickets.csv and answer_key.json, next to this file

The tickets are SYNTHETIC. No customer wrote them: each is put together from the phrases of `phrases.yaml` by a
seeded random generator, for an imaginary shop that sells phones, routers and subscriptions. They exist
so that every stage can be tried in minutes and checked against known answers.

What makes them hard, on purpose: most tickets mention the business of a second queue as background ("the
refund came, thanks"), and the phrases of `matters` stand word for word both where something is asked and
where something is settled. Which queue is right then depends on how the sentence is built, which a frozen
mean of word vectors sees poorly and a fine-tuned encoder can learn. About four in a hundred belong to
either of two queues and got one by the toss of a coin, so nobody can score 100 %.

What they cannot show: how well a model does on real tickets. The same few hundred phrases stand on every
side of a split, so scores flatter; the gain of fine-tuning over a probe on frozen vectors was built in and
is larger than most businesses will see; the language is English only; nothing drifts over time; and real
faults are messier than planted ones. Use the numbers to catch breakage, for nothing else.
"""

import csv
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.samples.bodies import SIZES, Ticket, clear_body, distinct
from tests.samples.faults import (
    Planted,
    ambiguous_tickets,
    disguised_copies,
    exact_copies,
    near_copies,
    new_tickets,
    personal_data,
    random_day,
    relabelled,
    too_long,
    two_labels,
)

SEED = 17
COLUMNS = ("ticket_id", "customer_id", "created", "queue", "body")


def visits(rng: random.Random) -> Iterator[str]:
    """Customers in the order in which they write, each one to six times."""
    ids = [f"C-{number:04}" for number in range(1, 1101) for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4, 6)))]
    rng.shuffle(ids)
    return iter(ids)


def clear_tickets(rng: random.Random, customers: Iterator[str]) -> list[Ticket]:
    tickets = []
    for queue, size in SIZES.items():
        word_sets: list[set[str]] = []
        for _ in range(size):
            body = distinct(lambda q=queue: clear_body(rng, q), word_sets)
            tickets.append(Ticket(queue, body, next(customers), random_day(rng)))
    return tickets


def generate(seed: int) -> tuple[list[dict[str, str]], dict[str, list[Any]]]:
    """The rows of tickets.csv and the key to what was planted in them; the same seed gives the same sample.

    Every fault takes its tickets from one shuffled line of clear ones, so no ticket carries two faults.
    """
    rng = random.Random(seed)
    customers = visits(rng)
    tickets = clear_tickets(rng, customers)
    clear = iter(rng.sample(tickets, len(tickets)))
    planted: dict[str, Planted] = {
        "exact_copies": exact_copies(rng, clear, customers),
        "copies_after_cleaning": disguised_copies(rng, clear, customers),
        "near_copies": near_copies(rng, clear, customers),
        "two_labels": two_labels(rng, clear, customers),
        "personal_data": personal_data(rng, clear),
        "empty": new_tickets(rng, ("", "   ", "\u0007\u0007", "\u200b", "\n\t\n", "\u00a0"), customers),
        "too_short": new_tickets(rng, ("?", "x", "."), customers),
        "too_long": too_long(rng, clear),
        "junk_label": relabelled(clear, ("Refnds", "Refnds", "???", "test", "delivry")),
        "missing_label": relabelled(clear, ("", "")),
        "ambiguous": ambiguous_tickets(rng, customers),
    }
    tickets += [ticket for added, _ in planted.values() for ticket in added]
    tickets.sort(key=lambda ticket: ticket.created)  # stable: an original stays before its copy
    ids = {ticket: f"T-{number:05}" for number, ticket in enumerate(tickets, start=1)}
    key = {fault: [named(entry, ids) for entry in entries] for fault, (_, entries) in planted.items()}
    return [row(ticket, ids[ticket]) for ticket in tickets], key


def named(entry: Any, ids: dict[Ticket, str]) -> Any:
    """The entry with each ticket replaced by its id."""
    if isinstance(entry, Ticket):
        return ids[entry]
    if isinstance(entry, dict):
        return {name: named(value, ids) for name, value in entry.items()}
    return [named(value, ids) for value in entry] if isinstance(entry, tuple) else entry


def row(ticket: Ticket, ticket_id: str) -> dict[str, str]:
    values = (ticket_id, ticket.customer, ticket.created.isoformat(), ticket.queue, ticket.body)
    return dict(zip(COLUMNS, values, strict=True))


def as_csv(rows: list[dict[str, str]]) -> bytes:
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return table.getvalue().encode()


def as_json(key: dict[str, list[Any]]) -> bytes:
    """One entry a line, so that a difference between two keys can be read."""
    faults = [
        f"{json.dumps(fault)}: [\n" + ",\n".join(f"  {json.dumps(entry)}" for entry in entries) + "\n]"
        for fault, entries in key.items()
    ]
    return ("{\n" + ",\n".join(faults) + "\n}\n").encode()


def write_whole(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f".{path.name}.tmp")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def main(folder: Path) -> None:
    rows, key = generate(SEED)
    write_whole(folder / "tickets.csv", as_csv(rows))
    write_whole(folder / "answer_key.json", as_json(key))


if __name__ == "__main__":
    main(Path(__file__).parent)
