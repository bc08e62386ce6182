"""Bytes as text: UTF-8, UTF-16 and UTF-32 by their byte order mark, any other encoding only if a person names it.

A guess at an encoding is often wrong, and what it makes of a text looks like a text. So a file that is not UTF-8 is
refused with the likely encodings and the words that each would read, and the reader takes one with `--encoding`. In a
file that is mostly UTF-8, the other lines are rejects.
"""

import codecs
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from retune.data.readers.table import Fault
from retune.errors import Refused, WrongUse

BOMS = (  # the longer ones first: that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
NUL, NULS = "\0", "NUL bytes"  # the second is a reason
ESCAPE = re.compile(r"\\udc([89a-f][0-9a-f])")  # such a byte, as `ascii` writes it
WIDE = ("utf-16", "utf-32")
WITHOUT_MARK = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
ESCAPED = re.compile("[\udc80-\udcff]")  # a byte that is no text, as `surrogateescape` reads it
SAMPLE = 1 << 16
CANDIDATES = 4
SHORT = 400  # bytes, of which nobody guesses well: then the most frequent encoding is shown too
WORDS = 3  # that a message shows of each candidate

Open = Callable[[], BinaryIO]


def of(start: bytes, stated: str | None) -> str:
    """The encoding of a file that starts with these bytes. Raises WrongUse if the stated one is unknown."""
    if stated:
        try:
            return codecs.lookup(stated).name
        except LookupError:
            raise WrongUse(
                f"--encoding {stated} is not an encoding: write utf-8, cp1252 or another of Python's"
            ) from None
    return next((name for mark, name in BOMS if start.startswith(mark)), "utf-8")


@contextmanager
def lines(open_source: Open, encoding: str, name: str) -> Iterator[Iterator[str]]:
    """The lines with their ends. A byte that is no text stands in them as half a surrogate pair (`ESCAPED`)."""
    errors = "surrogatepass" if encoding.startswith(WIDE) else "surrogateescape"
    with io.TextIOWrapper(open_source(), encoding, errors, newline="") as file:
        try:
            yield file
        except UnicodeDecodeError as error:
            raise Refused(f"{name} is not {encoding}: {error.reason}. Correct the export, or --encoding") from None


class Check:
    """Looks at each line for bytes that are no text."""

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self.beyond_ascii = 0  # lines that are not ASCII
        self.wrong: list[bytes] = []  # the first lines that are not in the encoding
        self.wrong_lines = 0
        self.first_wrong = ""

    def fault(self, line: str, number: int) -> Fault | None:
        """What is wrong with the line; None if it is text."""
        if NUL in line and line.count(NUL) * 2 > len(line):  # one within a text stays
            return Fault(NULS, f"{line.count(NUL):,} of {len(line):,} characters are NUL: copy the file again")
        if line.isascii():
            return None
        self.beyond_ascii += 1
        byte = ESCAPED.search(line)
        if not byte:
            return None
        raw = line.encode("utf-8", "surrogateescape")
        value = ord(byte[0]) - 0xDC00
        at = f"byte {len(line[: byte.start()].encode('utf-8', 'surrogateescape')) + 1} (0x{value:02x})"
        self.wrong_lines += 1
        self.first_wrong = self.first_wrong or f"line {number}, {at}"
        if sum(map(len, self.wrong)) < SAMPLE:
            self.wrong.append(raw)
        encoding = self.encoding.removesuffix("-sig").upper()
        return Fault(f"not {encoding}", f"{at} is not {encoding}, in {shown(line)}: correct the line")

    def refuse_another_encoding(self, name: str, stated: str | None) -> None:
        """Raises Refused if not a few lines, but the whole file is in another encoding."""
        if self.wrong_lines and not stated and (self.beyond_ascii - self.wrong_lines) * 10 < self.wrong_lines:
            raise Refused(f"{name} is not UTF-8: {self.first_wrong}. {advice(b''.join(self.wrong))}")


def shown(line: str) -> str:
    """The line in quotes and cut; what is no printable ASCII, and each byte that is no text, as an escape."""
    text = line.strip()
    cut = text if len(text) <= 60 else f"{text[:59]}…"
    return ESCAPE.sub(r"\\x\1", ascii(cut))


def refuse_wide_without_mark(start: bytes, encoding: str, name: str) -> None:
    """Raises Refused for UTF-16 and UTF-32 without a byte order mark, whose ASCII is valid UTF-8 with NULs.

    Also for a file that begins with nothing but NULs, as a crash or a copy that broke off leaves it.
    """
    nuls = start.count(0)
    if encoding != "utf-8" or nuls < 4:
        return
    if nuls > 0.9 * len(start):
        raise Refused(f"{name} is no text, but NUL bytes, as a write that broke off leaves them: copy it again")
    for likely in WITHOUT_MARK:
        try:
            text = codecs.getincrementaldecoder(likely)().decode(start)
        except UnicodeDecodeError:
            continue
        if NUL not in text and ("\n" in text or "\r" in text):  # one within UTF-8 does not explain a line end too
            raise Refused(f"{name} is not UTF-8, but seems to be {likely}: {_words(text)}. If so: --encoding {likely}")


def advice(sample: bytes) -> str:
    """Which encodings it may be, with words that each would read: only a person knows which are right."""
    from charset_normalizer import from_bytes

    likely = [match.encoding for match in from_bytes(sample)][: CANDIDATES - 1]
    likely += ["cp1252"] if len(sample) < SHORT else []
    readings: dict[str, str] = {}
    for encoding in dict.fromkeys(likely):
        try:
            words = _words(sample.decode(encoding))
        except (UnicodeDecodeError, LookupError):
            continue
        readings[words] = encoding if encoding == "cp1252" else readings.get(words, encoding)
    if not readings:
        return "No encoding that is known reads it: is it text? Export it as UTF-8"
    guesses = "; ".join(f"{encoding} reads {words}" for words, encoding in readings.items())
    return f"{guesses}. These are guesses: name the one whose words are right with --encoding, or export it as UTF-8"


def _words(text: str) -> str:
    """The first words that are not ASCII; if there are none, the first words."""
    words = re.findall(r"[^\s,;|\"]+", text)
    unusual = [word for word in dict.fromkeys(words) if not word.isascii()]
    return ", ".join(repr(word[:20]) for word in (unusual or words)[:WORDS])
