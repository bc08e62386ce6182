"""Write the sample that Retune ships: 2,500 invented support tickets and the key to their planted faults.

    python tests/samples/generate.py        # tickets.csv and answer_key.json, next to this file

The tickets are SYNTHETIC. No customer wrote them: each is put together from the phrases below by a
seeded random generator, for an imaginary shop that sells phones, routers and subscriptions. They exist
so that every stage can be tried in minutes and checked against known answers.

What makes them hard, on purpose: most tickets mention the business of a second queue as background ("the
refund came, thanks"), and the phrases of `MATTERS` stand word for word both where something is asked and
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
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

SEED = 17
COLUMNS = ("ticket_id", "customer_id", "created", "queue", "body")

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
AMBIGUOUS = 100
EXACT_COPIES, NEAR_COPIES, TWO_LABELS, PERSONAL = 30, 25, 8, 48

# The share of tickets of each build (see `clear_body`); these set how hard the sample is.
PLAIN, BACKGROUND, CONTRAST = 0.44, 0.34, 0.22

# Two tickets of one queue share at most this part of their words, unless one is a planted copy.
ALIKE = 0.6

# ---------------------------------------------------------------- phrases


def phrases(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines())


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split("|"))


SLOTS = {
    "item": words(
        "the headphones|the tablet|the phone case|the router|the smart watch|the charger|the TV box|the speaker"
        "|the handset|the wifi extender|the keyboard|the camera|the power bank|the doorbell"
    ),
    "amount": words("12.99|19.00|24.50|39.99|45|59.90|79.00|84.20|110|149.99|199|249.00"),
    "month": words("January|February|March|April|May|June|July|August|September|October|November|December"),
    "day": words("Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|the 3rd|the 9th|the 14th|the 21st|the 28th"),
    "n": words("two|three|four|five|six|nine|ten|twelve"),
    "plan": words("Basic|Flex|Home 100|Home 500|Mobile S|Mobile L|Family"),
    "error": words('"try again later"|"session expired"|"error 403"|"something went wrong"|"unknown user"'),
    "order": words("A1043|A1187|A2260|A2954|A3318|A4471|A5002|A5719|A6630|A7125|A8846|A9073"),
}

# What a customer of this queue asks, in full sentences.
ASKS = {
    "billing": phrases("""
        You took {amount} twice in {month}. Why?
        My card shows {amount} for {item}, which I never ordered.
        The paper for {month} has {amount} for roaming and I did not leave the country.
        There is a line called "service adjustment" for {amount}. What is it?
        I got the late fee although the direct debit went out on {day}.
        It says {amount} for {month}, the plan I am on costs less. Please explain the difference.
        The discount you promised on {item} is missing from the {month} total.
        I bought one and my bank shows two payments of {amount}.
        Can someone tell me what the {amount} restocking sum is for, now that you have {item} back?
        You added postage to order {order}, it was meant to be free.
        First you put {amount} back on my card, a day later you took it again. Explain that please.
        Why does the last statement, after I left, contain another whole month?
        {amount} left my account on {day} and I cannot match it to any order.
        An installation visit of {amount} shows up although I did everything myself.
        I am paying for a second line in {month} that I do not have.
    """),
    "refunds": phrases("""
        I sent {item} back {n} days ago and the {amount} is still not on my card.
        The warehouse has {item}. When do I see the {amount}?
        You wrote that {amount} would be with me by {day}. Nothing so far.
        You called off order {order} yourselves, but my {amount} has not come back.
        I was given a voucher for {item} and want the {amount} on my card.
        Only part of the {amount} came back to me. Where is the rest?
        The parcel was declared lost and I was promised my {amount}. Still waiting.
        What I am owed went to a card that I no longer have. Can you pay it elsewhere?
        You admitted that you took it twice. When will the {amount} be paid out?
        I want something back for the {n} days without a connection.
        How long does a credit of {amount} take until it reaches my bank?
        I paid the postage for {item} myself, you said you would reimburse that.
        I left in {month} and the router deposit of {amount} has not been paid out.
    """),
    "returns": phrases("""
        {item} does not suit me, how do I get it to you?
        I need a label so that I can post {item}.
        Where can I drop off {item}? The shop near me is gone.
        How many days do I have to change my mind about {item}?
        The courier never came to collect {item} from me on {day}.
        Can I swap {item} for another colour now that it is here?
        I opened the box. Would you still take {item}?
        The post office cannot scan your QR code, so {item} is still sitting here.
        You sent {item}, I had bought something else. How does it get back to you?
        I left in {month} and still have your router. Where should it go?
        Do I need the original packaging for {item}?
        I do not want to keep {item} after all. What is the next step?
    """),
    "delivery": phrases("""
        Where is {item}? Tracking has not moved since {day}.
        The courier says it was handed over on {day}, nobody here got anything.
        Order {order} went to my old address and the new tenant has not seen it.
        Order {order} should have been here by {day}.
        Of the two boxes in order {order} only one came.
        The driver left a card, the depot knows nothing about it.
        The replacement for {item} is not here, {n} days after you approved it.
        The SIM you posted on {day} never got here.
        It has said "out today" for {n} days now.
        The box was open and {item} was not in it.
        I stayed home all of {day} and nobody rang.
        The number you gave me for order {order} finds nothing on the carrier page.
        How much longer until {item} gets here?
    """),
    "order_changes": phrases("""
        I picked the wrong colour of {item} an hour ago, can you switch it before it goes out?
        Please send order {order} to my office, it is not packed yet.
        Take one piece off order {order} before you ship.
        Can you still put {item} into order {order}?
        Do not ship order {order}, I no longer need it.
        I am away until {day}, can order {order} come later than planned?
        At checkout for {item} I typed the wrong house number. It has not left yet.
        I would rather pay order {order} by card than by invoice.
        Can {order} and my other one go in a single parcel?
        I forgot my voucher on order {order}, can you apply it before it ships?
        Make it {n} pieces in order {order} please, not one.
    """),
    "sign_in": phrases("""
        The reset link takes me to an empty page.
        The code never reaches my phone, so I am stuck outside.
        The password is right and it still says {error}.
        I am locked since {day} after {n} attempts.
        I have a new handset and the authenticator stayed on the old one.
        Your page does not know my e-mail any more.
        It throws me out whenever I open the {month} bill.
        To see my invoice it wants a password that I never set.
        Somebody else seems to be in my profile and I am shut out.
        To print the label for {item} I have to get past a page that says {error}.
        I cannot get into the app since the update on {day}.
    """),
    "customer_data": phrases("""
        I married in {month} and my surname has to be changed.
        We moved on {day}, all post should go to the new flat from now on.
        Please use another e-mail for everything you send me.
        My old number is still on file, take it off.
        My name is spelt wrong on every parcel and every bill.
        Delete whatever you store about me that you do not need.
        I would like a copy of everything you have on file about me.
        I have a new bank, where do I put the details for the direct debit?
        Stop the advertising mails, I said so in {month} already.
        The bills should carry the name of my company from {month}.
        My date of birth is wrong in your system.
    """),
    "technical_faults": phrases("""
        Everything drops each evening around nine.
        The light on the router is red since {day}.
        {item} turned itself off on {day} and does not start again.
        I get a tenth of the speed that I pay for.
        Nobody can ring me, though data works.
        {item} gets so hot that I cannot touch it.
        Since the new router came the picture freezes every {n} minutes.
        The screen flickers, {n} weeks old.
        For all of us at home the bill page shows {error} today.
        {item} is empty an hour after charging.
        No signal in our street since {day}.
        {item} worked for {n} days and then died.
        The sound comes and goes on {item}.
    """),
    "setup": phrases("""
        How do I connect {item} to the wifi?
        The box came on {day}. Which cable goes where?
        How do my contacts get to the new SIM?
        Which settings do I type in for mobile data?
        I do not see where the activation code goes.
        The guide for {item} stops at step {n}.
        How do I turn roaming on before I travel in {month}?
        What do I press to pair {item}?
        How do I give the router a different wifi name?
        How do I turn the voicemail on?
        Which app goes with {item}?
    """),
    "contract_end": phrases("""
        I want to stop in {month}, please.
        We go abroad in {month} and will not need the line any more.
        How much notice do I have to give for {plan}?
        Please put in writing that everything stops on {day}.
        I found another provider, please release my number.
        I will not renew {plan} in {month}.
        My mother died, her line has to be closed.
        I never agreed to another year of {plan}, let me out.
        I signed {n} days ago and withdraw.
        What do I owe if I go before the term is over in {month}?
    """),
    "tariffs": phrases("""
        I run out of data every month. What is the next one up from {plan}?
        I hardly use it, put me on something cheaper than {plan}.
        Can people who are already with you have the offer from your page?
        When can I go from {plan} to {plan}?
        I need a second line for my son from {month}.
        Take the sport package off and leave the rest.
        Does {plan} include calls abroad?
        It will cost more from {month}. Is there one that stays as it was?
        Can I pause {plan} for {n} weeks?
        My term runs out in {month}, what can you do on {plan} if I stay?
        How much would {plan} be with a second SIM?
    """),
    "complaints": phrases("""
        The person on the phone hung up on me on {day}.
        I was passed between {n} of your people and none had read the notes.
        The driver who brought {item} shouted at my neighbour.
        I want this looked at by somebody in charge, the way I was treated is not on.
        {n} promises to ring back, none kept.
        Your bot does not let me reach a human.
        The technician walked through the flat in dirty boots and was rude.
        Who above you can I write to about how this was handled?
        The man in the shop laughed at me on {day}.
        I was pushed into signing {plan} on the phone.
    """),
}

# What a ticket may be about, as a thing: fits both where it is asked and where it is background.
MATTERS = {
    "billing": phrases("""
        the {amount} that you took twice
        the unknown sum on the {month} bill
        the late fee for {month}
        the roaming cost on my statement
        the missing discount on my {month} invoice
        the wrong total for {month}
        the payment of {amount} that I did not make
    """),
    "refunds": phrases("""
        the {amount} that you owe me
        the money for {item} that I sent back
        the credit of {amount} not yet on my card
        the repayment for order {order}
        the deposit of {amount} to be paid out
        the reimbursement for the days without service
        the payout that went to my old card
    """),
    "returns": phrases("""
        the label for sending {item} back
        the pick-up of {item} from my home
        the exchange of {item} for another colour
        the drop-off point for {item}
        sending {item} back
        the way to hand in the old router
        the swap of {item}, wrong size
    """),
    "delivery": phrases("""
        the missing parcel with {item}
        the late arrival of order {order}
        the courier who never came on {day}
        the tracking of {item}
        the second box of order {order}
        the lost parcel of {day}
        the SIM that did not arrive
    """),
    "order_changes": phrases("""
        the other colour in order {order} before it ships
        the other house number for order {order}, not yet packed
        taking {item} off my open order
        adding {item} to order {order}
        calling off order {order} before it ships
        a later date for order {order}
    """),
    "sign_in": phrases("""
        the locked login
        the reset link that leads nowhere
        the code that does not reach my phone
        the password that is not accepted
        the page that says {error} when I log in
        the authenticator on my old phone
    """),
    "customer_data": phrases("""
        my new surname in your system
        the new address on my profile
        the other e-mail for my invoices
        the bank details on my profile
        the old phone number in my file
        the wrong spelling of my name
    """),
    "technical_faults": phrases("""
        the connection that drops every evening
        the red light on the router
        the dead screen of {item}
        the slow speed since {day}
        the sound of {item} that comes and goes
        {item} that does not start
        the missing signal in our street
    """),
    "setup": phrases("""
        pairing {item} for the first time
        the first steps with {item}
        where the cables of the new router go
        the settings for mobile data on the new phone
        turning the voicemail on
        moving my contacts to the new SIM
    """),
    "contract_end": phrases("""
        the end of my contract in {month}
        leaving {plan} for good
        the notice that I give for {month}
        the release of my number to another provider
        closing the line of my mother
        getting out of {plan} early
    """),
    "tariffs": phrases("""
        the step up from {plan} to more data
        the change to a cheaper plan
        the second line for my son
        the offer for {plan} on your page
        the sport package that I want off
        a pause of {plan} in {month}
    """),
    "complaints": phrases("""
        the rude agent of {day}
        the way your people treated me in the shop
        the call back that I was promised {n} times
        the driver who shouted at us
        the technician and his manners
        being passed around on the phone
    """),
}

# A matter of this queue that is over: background to another ticket, told in the words of this one.
SETTLED = {
    "billing": phrases("""
        The {amount} that you took twice in {month} was explained to me.
        The late fee on my bill is gone, thanks.
        I understand the {month} invoice now.
        The unknown payment on my card turned out to be my daughter's.
    """),
    "refunds": phrases("""
        The {amount} is back on my card, thank you.
        My refund for {item} arrived on {day}.
        The credit you promised reached my bank.
        You paid out the deposit of {amount} quickly.
    """),
    "returns": phrases("""
        {item} went back to you on {day} without trouble.
        I printed the label and posted {item}.
        The exchange of {item} worked well.
        The courier collected the old router.
    """),
    "delivery": phrases("""
        The parcel was late but it is here now.
        Tracking works again and the box came on {day}.
        The courier found us in the end and brought {item}.
        The neighbour had the missing box of order {order}.
    """),
    "order_changes": phrases("""
        You changed the colour in order {order} in time.
        I called off order {order} before it shipped, that went fine.
        Adding {item} to my order worked.
        Order {order} went to the right house number in the end.
    """),
    "sign_in": phrases("""
        I can log in again since {day}.
        The reset link for my password worked this time.
        My account was locked but you opened it.
        The code reached my phone at last.
    """),
    "customer_data": phrases("""
        My new address is on my profile, I checked.
        You corrected the spelling of my name.
        The bank details are updated.
        My new e-mail is on file now.
    """),
    "technical_faults": phrases("""
        The connection has been stable since {day}.
        The red light on the router went off by itself.
        {item} starts again after the update.
        The slow speed is fixed.
    """),
    "setup": phrases("""
        I paired {item} by myself in the end.
        The cables of the router are all in.
        I found the settings for mobile data.
        The activation code was on the back, all good.
    """),
    "contract_end": phrases("""
        I wanted to cancel {plan} but I am staying.
        You confirmed the end of my contract for {month}.
        My notice for the old line was accepted.
        I thought about leaving, not any more.
    """),
    "tariffs": phrases("""
        I moved from {plan} to {plan} in {month}.
        The cheaper plan is active.
        The second line for my son is running.
        The upgrade to {plan} went through on {day}.
    """),
    "complaints": phrases("""
        The rude agent has said sorry.
        Somebody did call me back on {day}, I have no complaint there.
        Your team was kind to me on the phone.
        My complaint about the shop was answered.
    """),
}

# Two matters in one ticket; {asks} is what the customer wants, {aside} is not.
CONTRASTS = phrases("""
    I had asked about {aside}, which is sorted. Now I write because of {asks}.
    This is not about {aside}, it is about {asks}.
    This is about {asks}, not about {aside}.
    You keep answering me on {aside}. My question was {asks}.
    My question was {asks}, and you keep answering me on {aside}.
    Please look at {asks}. You can forget {aside}, done.
    You can forget {aside}, done. Please look at {asks}.
    {asks} is still open; {aside} you have closed already.
    {aside} you have closed already; {asks} is still open.
    At first I thought my problem was {aside}, but it is {asks}.
    My problem is {asks}. At first I thought it was {aside}.
    Close the ticket on {aside} and open one for {asks}.
    Open a ticket for {asks}, the one on {aside} can be closed.
    {aside} can wait, my wife deals with it. What I need today is help with {asks}.
    What I need today is help with {asks}. {aside} can wait, my wife deals with it.
    Thanks for the help with {aside}. Can you do the same for {asks}?
    Can you help with {asks}, as quickly as you did with {aside}?
    I spoke to a colleague of yours about {aside} and that is fine, nobody has helped me with {asks}.
    Nobody has helped me with {asks}. With {aside} they did.
    Instead of {asks} you dealt with {aside}, so I have to ask again.
    You dealt with {aside} instead of {asks}, so I have to ask again.
""")

# Tickets that two queues could rightly own. The label is a coin toss: no model can know it.
EITHER = {
    ("billing", "refunds"): phrases("""
        You took {amount} too much in {month}, please put that right.
        {amount} went off my card for {item} and should not have. I want it corrected.
        There were two payments for order {order}. I only owe one.
        The {month} invoice is {amount} too high, I expect that sum back.
    """),
    ("refunds", "returns"): phrases("""
        I do not want {item}, I want my money.
        {item} is not what I hoped for. Please take it and pay me back.
        What happens with {item} and my {amount} now?
        I would like to undo the purchase of {item}.
    """),
    ("delivery", "order_changes"): phrases("""
        Order {order} is going to the wrong address.
        I will not be in on {day} when {item} comes.
        Order {order} is still on its way and I do not want it any more.
        Can {item} go to my neighbour if it has not come by {day}?
    """),
    ("returns", "technical_faults"): phrases("""
        {item} is broken and I do not want it.
        {item} came on {day} and does not work. What now?
        {item} has a fault, I need another one.
        Who takes {item}, dead after {n} days?
    """),
    ("technical_faults", "setup"): phrases("""
        {item} does not find the wifi.
        I cannot get {item} to run.
        The new router does nothing when I plug it in.
        Mobile data does not work on the new SIM.
    """),
    ("sign_in", "customer_data"): phrases("""
        The code goes to my old number.
        My e-mail has changed and the page does not know me.
        The profile has an address that I cannot open any more.
        My login still has my old name.
    """),
    ("tariffs", "contract_end"): phrases("""
        {plan} is too much for me, I want out of it.
        I no longer want {plan} from {month}.
        My term ends in {month}, what are my options?
        If {plan} gets no cheaper I am gone.
    """),
    ("billing", "tariffs"): phrases("""
        Why do I pay {amount} for {plan}? New people pay less.
        {plan} costs more than it did in {month}.
        I pay {amount} and that is too much for what I use.
        The price of {plan} is not what your page says.
    """),
    ("complaints", "delivery"): phrases("""
        {n} times nobody came and nobody cares where {item} is.
        Your driver threw {item} over the fence.
        For {n} days everyone tells me something else about order {order}.
        The courier is useless, again no parcel on {day}.
    """),
}

OPENINGS = words(
    "Hi,|Hello,|Hi there,|Good morning,|Good afternoon,|Dear team,|To whom it may concern,|Hey,|Hello again,"
    "|Sorry to bother you.|Quick one:|Second time I write.|URGENT.|This is getting silly."
    "|I hope you are well.|I could not find this on your page."
)
DETAILS = phrases("""
    I have been a customer for {n} years.
    I already looked at the help page.
    I work nights, so please write rather than ring.
    My order number would be {order}.
    I was in the shop on {day} and they sent me here.
    The chat told me to use this form.
    I asked in {month} as well.
    It is the only thing I need from you.
    I use {plan}, if that matters.
    My husband normally does this.
    I can send a photo.
    We are {n} people in the house.
    Last time it took you {n} days to answer.
    I am writing from my phone.
    I bought {item} from you too, that is fine.
""")
CLOSINGS = words(
    "Thanks|Thank you in advance.|Kind regards|Please get back to me soon.|Waiting for your answer."
    "|Unbelievable.|Not happy.|Cheers|Best wishes|I expect an answer by {day}.|Help please!|Many thanks"
    "|I am losing patience.|No rush.|Thank you for your time."
)
ACCENTED = phrases("""
    I write from a café, so excuse the haste.
    Perhaps I am naïve to ask.
    It is déjà vu for me.
    We live in the Zürich flat now.
    My fiancé would ask the same.
""")

# ---------------------------------------------------------------- personal data (all of it fictional)

FIRST = words("Alice|David|Maria|John|Susan|Peter|Laura|Daniel|Helen|Mark|Nina|Thomas")
LAST = words("Miller|Baker|Cooper|Hughes|Walker|Fischer|Martin|Turner|Lopez|Novak|Reed|Sanders")
# The registry's own sample IBANs and the card schemes' test numbers: valid checksums, nobody's account.
IBANS = words(
    "GB82 WEST 1234 5698 7654 32|DE89 3704 0044 0532 0130 00|NL91 ABNA 0417 1643 00"
    "|FR14 2004 1010 0505 0001 3M02 606|BE68 5390 0754 7034|ES91 2100 0418 4502 0005 1332"
)
CARDS = words("4111 1111 1111 1111|5555 5555 5555 4444|3782 822463 10005|6011 1111 1111 1117|4012 8888 8888 1881")
SAID = {
    "email": words("My mail is {}.|Write to {} please.|You reach me at {}."),
    "phone": words("Call me on {}.|My number: {}.|Ring {} after six."),
    "iban": words("My account is {}.|IBAN {}.|Please use {} for any payment."),
    "card": words("The card is {}.|Card number {}.|I paid with {}."),
    "name": words("Regards, {}|Yours sincerely\n{}|Thank you\n{}"),
}

# ---------------------------------------------------------------- tickets


@dataclass(eq=False)  # two tickets with the same words are still two tickets
class Ticket:
    queue: str
    body: str
    customer: str = ""
    created: date = date.min


def fill(rng: random.Random, phrase: str) -> str:
    """Put a random value into each slot, none twice, and a capital where the phrase starts."""
    slots = re.findall(r"\{(\w+)\}", phrase)
    values = {slot: rng.sample(SLOTS[slot], slots.count(slot)) for slot in dict.fromkeys(slots)}
    filled = re.sub(r"\{(\w+)\}", lambda slot: values[slot[1]].pop(), phrase)
    return filled[:1].upper() + filled[1:]


def contrast(rng: random.Random, queue: str, other: str) -> str:
    asks, aside = rng.choice(MATTERS[queue]), rng.choice(MATTERS[other])
    sentence = rng.choice(CONTRASTS).replace("{asks}", asks).replace("{aside}", aside)
    return re.sub(r"(?<=[.?] )[a-z]", lambda letter: letter[0].upper(), fill(rng, sentence))


def ask_with_background(rng: random.Random, ask: str, other: str) -> str:
    ask, settled = fill(rng, ask), fill(rng, rng.choice(SETTLED[other]))
    if rng.random() < 0.5:
        return f"{settled} {ask}"
    return f"{ask} {rng.choice(('By the way:', 'Otherwise fine.', 'Before you ask:', ''))} {settled}"


def clear_body(rng: random.Random, queue: str) -> str:
    other = rng.choice([name for name in SIZES if name != queue])
    build = rng.choices(("plain", "background", "contrast"), (PLAIN, BACKGROUND, CONTRAST))[0]
    if build == "contrast":
        return dress(rng, contrast(rng, queue, other))
    if build == "background":
        return dress(rng, ask_with_background(rng, rng.choice(ASKS[queue]), other))
    asks = rng.sample(ASKS[queue], rng.choice((1, 1, 2)))
    return dress(rng, " ".join(fill(rng, ask) for ask in asks))


def either_body(rng: random.Random, pair: tuple[str, str]) -> str:
    ask = rng.choice(EITHER[pair])
    if rng.random() < 0.4:
        return dress(rng, fill(rng, ask))
    other = rng.choice([name for name in SIZES if name not in pair])
    return dress(rng, ask_with_background(rng, ask, other))


def dress(rng: random.Random, message: str) -> str:
    """Wrap the message as people do: greeting, a needless detail, a close, haste, typing errors."""
    details = [fill(rng, detail) for detail in rng.sample(DETAILS, rng.choice((0, 0, 1, 1, 2)))]
    before, after = details[:1], details[1:]
    if rng.random() < 0.5:
        before, after = after, before
    opening = [rng.choice(OPENINGS)] if rng.random() < 0.6 else []
    closing = [fill(rng, rng.choice(CLOSINGS))] if rng.random() < 0.5 else []
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


# ---------------------------------------------------------------- faults: (new tickets, entries of the key)

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
        ticket.body = f"{ticket.body} {rng.choice(ACCENTED)}"
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
        return rng.choice((str, lambda value: value.replace(" ", "")))(rng.choice(IBANS))
    if kind == "card":
        return rng.choice(CARDS).replace(" ", rng.choice((" ", "-", "")))
    return name


def personal_data(rng: random.Random, clear: Iterator[Ticket]) -> Planted:
    """Contact and bank details at the end of the message; every fourth is signed as well."""
    spans = []
    kinds = tuple(SAID)
    for at in range(PERSONAL):
        ticket, name = next(clear), f"{rng.choice(FIRST)} {rng.choice(LAST)}"
        kind = kinds[at % len(kinds)]
        for kind_or_name in (kind, "name") if at % 4 == 0 and kind != "name" else (kind,):
            value = private_value(rng, kind_or_name, name)
            ticket.body += " " + rng.choice(SAID[kind_or_name]).format(value)
            spans.append({"id": ticket, "kind": kind_or_name, "value": value})
    return [], spans


def pasted_log(rng: random.Random, body: str) -> str:
    lines = [body]
    while sum(map(len, lines)) < 21_000:
        stamp = f"{rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}"
        lines.append(f"{stamp} wan link {rng.choice(('up', 'down', 'retry', 'timeout'))} {rng.randrange(10**6)}")
    return "\n".join(lines)


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


# ---------------------------------------------------------------- the sample


def random_day(rng: random.Random) -> date:
    return date(2025, 1, 1) + timedelta(rng.randrange(365))


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


def ambiguous_tickets(rng: random.Random, customers: Iterator[str]) -> Planted:
    tickets, entries, word_sets = [], [], []
    for at in range(AMBIGUOUS):
        pair = tuple(EITHER)[at % len(EITHER)]
        body = distinct(lambda p=pair: either_body(rng, p), word_sets)
        tickets.append(Ticket(rng.choice(pair), body, next(customers), random_day(rng)))
        entries.append({"id": tickets[-1], "queues": list(pair)})
    return tickets, entries


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
