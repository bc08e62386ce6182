"""Write the samples for models that write: invented support requests with replies, and with a better and a worse one.

    python tests/samples/replies.py         # replies.csv and preferences.csv, next to this file

Both are SYNTHETIC, put together from the phrases below by a seeded random generator for the same imaginary shop
as `tickets.csv`. They exist so that `task: instruct` and `task: prefer` can be tried in minutes.

replies.csv holds 1,400 requests of 10 intents with the reply that the shop's best agent would write. What a model
can learn from it: the house style (a first line that names the matter, what was done, what comes next, one sign-off),
what is done for which intent, and to take order, item, plan and month over from the request.

preferences.csv holds 600 other requests with two replies. The chosen one is in the house style. The rejected one has
one fault of `FAULTS`: curt, rude, about another matter, cut off half-way, or with another order, item or plan than
the one asked about. No column names the fault: what is wrong must be learned from the pair.

What they cannot show: how well a model writes to real customers. A few dozen phrases stand on every side of a split,
so scores flatter; and every gain was built in.
"""

import csv
import io
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

SEED = 17
REPLIES, PAIRS = 1400, 600
REPLY_COLUMNS = ("request_id", "customer_id", "intent", "prompt", "completion")
PAIR_COLUMNS = ("pair_id", "customer_id", "prompt", "chosen", "rejected")


def phrases(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines())


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split("|"))


SLOTS = {
    "item": words("headset|tablet|phone case|router|smart watch|charger|TV box|speaker|keyboard|camera|doorbell"),
    "order": words("A1043|A1187|A2260|A2954|A3318|A4471|A5002|A5719|A6630|A7125|A8846|A9073"),
    "plan": words("Basic|Flex|Home 100|Home 500|Mobile S|Mobile L|Family"),
    "month": words("January|February|March|April|May|June|July|August|September|October|November|December"),
    "day": words("Monday|Tuesday|Wednesday|Thursday|Friday|Saturday"),
    "amount": words("12.99|19.00|24.50|39.99|45.00|59.90|79.00|84.20|110.00|149.99"),
}


@dataclass(frozen=True)
class Intent:
    """What is asked, in the customer's words, and what the house answers; both share the slots."""

    asks: tuple[str, ...]
    matter: str  # what the first line of the reply names
    done: tuple[str, ...]
    next: str


INTENTS = {
    "order_status": Intent(
        phrases("""
            Where is order {order}? The {item} should have been here on {day}.
            Order {order} has not moved since {day}, and I need the {item}.
            Can you tell me when order {order} with the {item} will be here?
            I have been waiting for the {item} since {day}. It is order {order}.
        """),
        "order {order}",
        phrases("""
            The {item} left our warehouse on {day} and is with the courier.
            The courier has the {item} since {day} and will bring it to your door.
        """),
        "You will get a message with the hour of delivery.",
    ),
    "cancel_order": Intent(
        phrases("""
            Please cancel order {order}, I no longer need the {item}.
            I want to call off order {order}. The {item} was a mistake.
            Can order {order} still be stopped? I found the {item} elsewhere.
            Do not send the {item} from order {order}, please.
        """),
        "order {order}",
        phrases("""
            I have cancelled it, so the {item} will not be sent.
            The order is cancelled and the {item} stays with us.
        """),
        "Your money is back on your card within five days.",
    ),
    "refund_status": Intent(
        phrases("""
            I sent the {item} back and the {amount} is still not on my card.
            When do I get my {amount} for the {item}?
            You have the {item} since {day}, where are my {amount}?
            Nothing came of the {amount} that you promised for the {item} on {day}.
        """),
        "your refund of {amount}",
        phrases("""
            The {item} has arrived, and I have sent the {amount} to your card today.
            We have checked the {item}, and the {amount} went out to your card today.
        """),
        "Banks take up to three days to show it.",
    ),
    "return_item": Intent(
        phrases("""
            The {item} does not suit me. How do I send it back?
            I need a label to return the {item} from order {order}.
            Can I still give back the {item} that came on {day}?
            How does the {item} from order {order} get back to you?
        """),
        "the return of your {item}",
        phrases("""
            A label for the {item} is in your mail. Print it and put it on the box.
            I have mailed you a label. Put it on the box with the {item}.
        """),
        "Any post office takes the box.",
    ),
    "bill_question": Intent(
        phrases("""
            Why does my bill for {month} show {amount} more than {plan} costs?
            You took {amount} twice in {month}. I am on {plan}.
            There is a line of {amount} on the {month} bill that I do not know. My plan is {plan}.
            I am on {plan}, so what are the {amount} for in {month}?
        """),
        "your bill for {month}",
        phrases("""
            The {amount} do not belong to {plan}, so I have taken them off.
            You are right: {plan} does not include the {amount}. I have taken them off.
        """),
        "The new bill is in your account tomorrow.",
    ),
    "change_address": Intent(
        phrases("""
            We move in {month}. Please send everything to the new flat, order {order} too.
            Please send order {order} to my office, it comes on {day}.
            My address has changed in {month}, and order {order} must not go to the old one.
            Can the {item} from order {order} go to my new house?
        """),
        "your new address",
        phrases("""
            Please open your account, choose Addresses and write down the new one. Order {order} follows it.
            Write the new one under Addresses in your account, and order {order} goes there.
        """),
        "It counts from the next working day.",
    ),
    "broken_item": Intent(
        phrases("""
            The {item} from order {order} turned itself off on {day} and does not start again.
            My {item} is broken, it came with order {order}.
            The {item} gets so hot that I cannot touch it. Order {order}.
            Since {day} the {item} from order {order} makes no sound.
        """),
        "your {item}",
        phrases("""
            I am sorry that it failed. A new one from order {order} leaves us tomorrow.
            I am sorry about the trouble. We send a new one for order {order} tomorrow.
        """),
        "Please give the broken one to the courier.",
    ),
    "slow_internet": Intent(
        phrases("""
            The internet is slow since {day}. I pay for {plan}.
            With {plan} I get a tenth of the speed since {day}.
            Everything drops in the evening. I have {plan} and the {item} is new.
            The line is down since {day}, and the {item} shows a red light. My plan is {plan}.
        """),
        "your {plan} line",
        phrases("""
            Please pull the plug of the router, wait one minute and put it back.
            Please turn the router off for one minute and on again.
        """),
        "If it stays slow, I send a technician on {day}.",
    ),
    "change_plan": Intent(
        phrases("""
            I run out of data. Can I go to {plan} from {month}?
            Please put me on {plan} in {month}.
            Is {plan} possible from {month}, and what do I have to do?
            From {month} I would like {plan}.
        """),
        "your change to {plan}",
        phrases("""
            I have noted it, and {plan} begins on the first of {month}.
            It is done: you have {plan} from the first of {month}.
        """),
        "Your number and your contract stay as they are.",
    ),
    "reset_password": Intent(
        phrases("""
            The password does not work since {day} and I cannot see my bill for {month}.
            I am locked out since {day}. How do I get to my {month} bill?
            The code never comes, and I need order {order} in my account.
            I have a new phone and cannot get into my account. I want to see order {order}.
        """),
        "your account",
        phrases("""
            I have sent you a new link. Open it within one hour and choose a password.
            A new link is in your mail. It lasts one hour and asks for a new password.
        """),
        "Never tell anyone the code.",
    ),
}

OPENINGS = words("Hello.|Hi.|Good morning.|Hi there!|||")
CLOSINGS = words("Thanks!|Thank you.|Please help.|I am waiting.|Best wishes|||")
FIRST_LINES = words("This is about {matter}.|Thank you for asking about {matter}.")
SIGN_OFF = "Your Lumo team"

CURT = phrases("""
    Look it up in the app.
    Not my department.
    Wait.
    That is not possible.
    Read the terms.
    Call again tomorrow.
""")
RUDE = phrases("""
    That is your own fault.
    Other customers manage without asking.
    You should have read the page first.
    I have explained this a hundred times.
""")


@dataclass(frozen=True)
class Request:
    intent: str
    slots: dict[str, str]
    prompt: str


def fill(phrase: str, slots: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda slot: slots[slot[1]], phrase)


def request(rng: random.Random) -> Request:
    intent = rng.choice(tuple(INTENTS))
    slots = {slot: rng.choice(values) for slot, values in SLOTS.items()}
    ask = fill(rng.choice(INTENTS[intent].asks), slots)
    return Request(intent, slots, " ".join(f"{rng.choice(OPENINGS)} {ask} {rng.choice(CLOSINGS)}".split()))


def reply(rng: random.Random, inquiry: Request) -> str:
    """In the house style: the matter, what was done and what comes next, the sign-off, a line each."""
    intent = INTENTS[inquiry.intent]
    first = rng.choice(FIRST_LINES).replace("{matter}", intent.matter)
    lines = (first, f"{rng.choice(intent.done)} {intent.next}", SIGN_OFF)
    return "\n".join(fill(line, inquiry.slots) for line in lines)


def curt(rng: random.Random, inquiry: Request) -> str:
    return rng.choice(CURT)


def rude(rng: random.Random, inquiry: Request) -> str:
    line = reply(rng, inquiry).split("\n")[1]
    return f"{rng.choice(RUDE)} {line}"


def another_matter(rng: random.Random, inquiry: Request) -> str:
    other = rng.choice([name for name in INTENTS if name != inquiry.intent])
    return reply(rng, Request(other, inquiry.slots, inquiry.prompt))


def cut_off(rng: random.Random, inquiry: Request) -> str:
    words = reply(rng, inquiry).split(" ")
    return " ".join(words[: rng.randint(3, len(words) // 2)])


def another_object(rng: random.Random, inquiry: Request) -> str:
    """Right in all but what it is about; a reply that names nothing cannot have this fault."""
    if "{" not in INTENTS[inquiry.intent].matter + "".join(INTENTS[inquiry.intent].done):
        return another_matter(rng, inquiry)
    slots = {
        slot: rng.choice([value for value in SLOTS[slot] if value != slot_value])
        for slot, slot_value in inquiry.slots.items()
    }
    return reply(rng, Request(inquiry.intent, slots, inquiry.prompt))


FAULTS: tuple[Callable[[random.Random, Request], str], ...] = (curt, rude, another_matter, cut_off, another_object)


def customers(rng: random.Random, rows: int) -> Iterator[str]:
    """Each customer writes one to six times."""
    ids = [f"C-{number:04}" for number in range(1, rows + 1) for _ in range(rng.choice((1, 1, 2, 3, 6)))][:rows]
    rng.shuffle(ids)
    return iter(ids)


def distinct(rng: random.Random, count: int, prompts_taken: set[str]) -> list[Request]:
    """Requests that nobody has made before in the same words."""
    prompts: list[Request] = []
    while len(prompts) < count:
        candidate = request(rng)
        if candidate.prompt not in prompts_taken:
            prompts_taken.add(candidate.prompt)
            prompts.append(candidate)
    return prompts


def generate(seed: int) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """The rows of replies.csv and of preferences.csv; no request stands in both."""
    rng, prompts_taken = random.Random(seed), set[str]()
    writers = customers(rng, REPLIES)
    replies = [
        (f"Q-{number:05}", next(writers), each.intent, each.prompt, reply(rng, each))
        for number, each in enumerate(distinct(rng, REPLIES, prompts_taken), start=1)
    ]
    writers = customers(rng, PAIRS)
    pairs = [
        (f"P-{number:05}", next(writers), each.prompt, reply(rng, each), rng.choice(FAULTS)(rng, each))
        for number, each in enumerate(distinct(rng, PAIRS, prompts_taken), start=1)
    ]
    return replies, pairs


def as_csv(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> bytes:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerows([columns, *rows])
    return table.getvalue().encode()


def main(folder: Path) -> None:
    replies, pairs = generate(SEED)
    for name, content in (
        ("replies.csv", as_csv(REPLY_COLUMNS, replies)),
        ("preferences.csv", as_csv(PAIR_COLUMNS, pairs)),
    ):
        unfinished = folder / f".{name}.tmp"
        unfinished.write_bytes(content)
        unfinished.replace(folder / name)


if __name__ == "__main__":
    main(Path(__file__).parent)
