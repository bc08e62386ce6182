"""The text that the small decoder learns to read and write from: invented, endless, the same for the same seed.

Three kinds of documents about the imaginary shop of tests/samples: tickets (the phrases of phrases.yaml), pages of a
handbook, and conversations in an old voice of the shop, half of them with the marks of ChatML. None is of
replies.csv or preferences.csv: their requests are worded otherwise, and nobody here answers in the house style, so
what a base scores on them is what it brings along, and the gain of tuning is learned.
"""

import importlib.util
import random
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

SAMPLES = Path(__file__).resolve().parent.parent / "tests/samples"

ANSWERS = {  # by the queue of what was asked; a slot that the question lacks leaves the answer out
    "billing": """
        hey, we see the {amount} too. someone from billing looks at it this week
        the {amount} in {month} is odd, we ask the bank and call you
        no idea yet what it is. the books for {month} are still open
        bills are sent on the first of the month, so wait for the next one""",
    "refunds": """
        the {amount} is on its way, banks are slow
        we got the {item}, the money follows when the desk has time
        refunds take ten days or so. ask again after that""",
    "returns": """
        bring the {item} to any shop, they have labels
        sure, send the {item} back within fourteen days, in a box please
        we do not need the packaging, only the receipt""",
    "delivery": """
        {order} is somewhere between the depot and you, look again on {day}
        the driver says he has the {item}. maybe on {day}
        tracking is often late, it will come""",
    "order_changes": """
        ok, {order} is changed
        too late for {order}, it is packed. send it back when it comes
        we put a note on {order} for the packers""",
    "sign_in": """
        take the reset page, and look into the spam folder
        that message means that the server was busy, try again on {day}
        did you type the code that came by text? it is good for ten minutes""",
    "customer_data": """
        done, your file is new now
        the papers for that are on our page, under data
        you can do that yourself in the app, it is two clicks""",
    "technical_faults": """
        pull the plug and put it in again, that helps nine times of ten
        sounds like the {item} is dead. do you have the receipt?
        there was a fault in your street, it is gone since {day}""",
    "setup": """
        the yellow cable goes into the wall, the white one into the {item}
        press the button on the {item} until it blinks, then wait
        the guide is wrong there, leave that step out""",
    "contract_end": """
        you have to write three months ahead
        {plan} ends when the term is over, not before
        ok, we close it at the end of {month}""",
    "tariffs": """
        {plan} costs more, but you get twice the data
        from {month} you can take any plan you like
        stay with {plan}, it is the cheapest for what you do""",
    "complaints": """
        sorry. we told the boss
        that was not nice of us, have five off the next bill
        the person does not work here any more""",
}

HANDBOOK = """
    The {item} can be sent back within fourteen days after it came.
    Who takes {plan} pays {amount} a month and can leave after one year.
    Order {order} was the first one that we sent to another country.
    The warehouse packs until six, on {day} until four.
    In {month} the courier brings twice as many boxes as in a usual month.
    A label for the way back is in the mail that comes with every order.
    If the {item} is broken, we send a new one and the courier takes the broken one along.
    The router needs one minute to start after you have turned it off and on again.
    A link for a new password lasts one hour and is sent to the mail that stands in the account.
    The bill for {month} is in the account on the first of the next month.
    Money that we send back is on the card within five days, but some banks take longer.
    Please write down what the customer said before you ask the technician.
    Thank the customer for writing, and say what comes next.
    Our team answers on {day} from eight to eight.
    Never ask a customer for the code that was sent to the phone.
    The address can be changed in the account until the order has left us.
    With {plan} you have calls to all countries of the union.
    Every {item} has a number on its back that begins with a letter.
    The technician comes between nine and twelve, and calls one hour before.
    Who moves keeps the contract, the number and the plan.
"""


def load(name: str) -> ModuleType:
    """A generator that stands beside the samples."""
    spec = importlib.util.spec_from_file_location(f"sample_{name}", SAMPLES / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def documents(seed: int, count: int) -> list[str]:
    """`count` documents in a random order: a quarter tickets, a quarter handbook, a half conversations."""
    rng, tickets, replies = random.Random(seed), load("bodies"), load("replies")
    kinds = (_tickets(rng, tickets), _handbook(rng, replies), *[_conversations(rng, tickets, replies)] * 2)
    return [next(rng.choice(kinds)) for _ in range(count)]


def _tickets(rng: random.Random, tickets: ModuleType) -> Iterator[str]:
    queues = tuple(tickets.SIZES)
    while True:
        yield tickets.clear_body(rng, rng.choice(queues))


def _handbook(rng: random.Random, replies: ModuleType) -> Iterator[str]:
    sentences = replies.phrases(HANDBOOK)
    while True:
        excerpt = rng.sample(sentences, rng.randint(2, 5))
        yield " ".join(replies.fill(each, _slots(rng, replies)) for each in excerpt)


def _conversations(rng: random.Random, tickets: ModuleType, replies: ModuleType) -> Iterator[str]:
    while True:
        queue, slots = rng.choice(tuple(tickets.SIZES)), _slots(rng, replies)
        ask = re.sub(r"\{item\}", "the {item}", rng.choice(tickets.PHRASES["asks"][queue]))
        answers = [each for each in replies.phrases(ANSWERS[queue]) if _named(each) <= _named(ask)]
        if not answers or not _named(ask) <= set(slots):
            continue
        question, answer = replies.fill(ask, slots), replies.fill(rng.choice(answers), slots)
        yield rng.choice((_as_play, _as_chat))(question[:1].upper() + question[1:], answer)


def _slots(rng: random.Random, replies: ModuleType) -> dict[str, str]:
    return {slot: rng.choice(values) for slot, values in replies.SLOTS.items()} | {"n": rng.choice(("two", "five"))}


def _named(phrase: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", phrase))


def _as_play(ask: str, answer: str) -> str:
    return f"Customer: {ask}\nShop: {answer}"


def _as_chat(ask: str, answer: str) -> str:
    turns = (("user", ask), ("assistant", answer))
    return "\n".join(f"<|im_start|>{role}\n{content}<|im_end|>" for role, content in turns)
