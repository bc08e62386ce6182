"""API keys, tokens and passwords: by the shapes of common providers, by the word before them, and by their entropy."""

import math
import re
from collections import Counter
from collections.abc import Iterator

from retune.data.pii.spans import Span, mentions

SHAPES = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"(?:AKIA|ASIA|AGPA|AIDA|AROA|ANPA)[A-Z0-9]{16}"  # AWS
    r"|gh[pousr]_[A-Za-z0-9]{36,255}+|github_pat_\w{22,255}+|gl(?:pat|rt|dt|cbt)-[\w-]{20,255}+"  # GitHub, GitLab
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,255}+|xapp-\d-[A-Za-z0-9-]{10,255}+"  # Slack
    r"|[srp]k_(?:live|test)_[A-Za-z0-9]{16,255}+|whsec_[A-Za-z0-9]{16,255}+"  # Stripe
    r"|AIza[\w-]{35}|ya29\.[\w-]{20,500}+|GOCSPX-[\w-]{28}"  # Google
    r"|sk-[\w-]{20,255}+|hf_[A-Za-z0-9]{30,64}+|npm_[A-Za-z0-9]{36}|pypi-[\w-]{16,500}+|dapi[0-9a-f]{32}"
    r"|SG\.[\w-]{16,64}+\.[\w-]{16,64}+|(?:SK|AC)[0-9a-f]{32}|key-[0-9a-f]{32}"  # SendGrid, Twilio, Mailgun
    r"|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}|do[opr]_v1_[0-9a-f]{64}|sq0[a-z]{3}-[\w-]{22,64}+|NRAK-[A-Z0-9]{27}"
    r"|\d{8,10}:AA[\w-]{33}|hv[sb]\.[\w-]{24,255}+|EAA[A-Za-z0-9]{40,500}+|lin_api_[A-Za-z0-9]{40}"
    r"|eyJ[\w-]{10,4000}+\.[\w-]{10,8000}+\.[\w-]{0,2000}+"  # a JSON web token
    r")(?![A-Za-z0-9_-])"
    r"|(?<=hooks\.slack\.com/services/)[A-Za-z0-9/]{20,80}+",
    re.ASCII,
)
PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----")
KEY_END = re.compile(r"-----END [A-Z ]{0,30}PRIVATE KEY-----")
ASSIGNED = re.compile(
    r"(?P<word>pass(?:word|wd|phrase|code|wort)|\bpwd|contraseña|mot de passe|wachtwoord|kennwort|hasło|senha"
    r"|(?:api|access|secret|auth|account|private|client|shared)[ _-]?(?:key|secret|token)|\bsecret|\btoken|\bbearer)"
    r"(?P<between>[\"']?(?: ?[:=]{1,2}>? ?| is:? | ist:? | est:? | es:? )[\"'`]?|(?<=[Bb]earer) )"
    r"(?P<value>[^\s\"'`<>,;]{6,512}+)",
    re.IGNORECASE,
)
LONG = re.compile(r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_-]{24,512}+={0,2}(?![A-Za-z0-9+/_=-])")
# What each of them has in it, for a look that is quicker than the pattern.
RUN = re.compile(r"[\w./:+-]{15}", re.ASCII)
ASSIGNED_WORDS = (
    *("pass", "pwd", "contrase", "wachtwoord", "kennwort", "hasło", "senha"),
    *("key", "secret", "token", "bearer"),
)
LEAST_BITS = 4.0  # of entropy a character: text has fewer, and so has hexadecimal
LEAST_DIGITS = 3


def find_secrets(text: str) -> Iterator[Span]:
    has_run = bool(RUN.search(text))
    for match in SHAPES.finditer(text) if has_run else ():
        yield Span("secret", *match.span(), match[0])
    yield from _private_keys(text)
    for match in ASSIGNED.finditer(text) if mentions(text, ASSIGNED_WORDS) else ():
        value = match["value"].rstrip(".!?)]}")
        if len(value) >= 6 and _is_like_a_password(value, by_word=" " not in match["between"].strip(" ")):
            start = match.start("value")
            yield Span("secret", start, start + len(value), value)
    for match in LONG.finditer(text) if has_run else ():
        if _is_random(match[0]):
            yield Span("secret", *match.span(), match[0])


def _private_keys(text: str) -> Iterator[Span]:
    """The whole block; to the end of the text where its end is missing."""
    place = 0
    while begin := PRIVATE_KEY.search(text, place):
        end = KEY_END.search(text, begin.end())
        place = end.end() if end else len(text)
        yield Span("secret", begin.start(), place, text[begin.start() : place])


def _is_like_a_password(value: str, by_word: bool) -> bool:
    """Words of a sentence are none: a digit must be there, and a letter, unless it is assigned with a sign."""
    return any(map(str.isdigit, value)) and (by_word or any(map(str.isalpha, value)))


def _is_random(token: str) -> bool:
    """Upper and lower case and digits, all mixed. A hash and a UUID, which are hexadecimal, only name a thing."""
    digits = sum(map(str.isdigit, token))
    if digits < LEAST_DIGITS or not any(map(str.islower, token)) or not any(map(str.isupper, token)):
        return False
    counts = Counter(token).values()
    bits = -sum(count / len(token) * math.log2(count / len(token)) for count in counts)
    return bits >= LEAST_BITS
