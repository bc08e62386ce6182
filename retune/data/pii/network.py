"""IP and MAC addresses, and names with passwords in URLs."""

import ipaddress
import re
from collections.abc import Iterator

from retune.data.pii.spans import Span, around

IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}+\.){3}\d{1,3}+(?![\w-]|\.\d)", re.ASCII)
IPV6 = re.compile(
    r"(?<![\w:.])[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]{2,34}+(?:(?<=:)(?:\d{1,3}+\.){3}\d{1,3}+)?(?![\w:])", re.ASCII
)
MAC = re.compile(
    r"(?<![\w:.-])(?:[0-9A-F]{2}(?P<sign>[:-])(?:[0-9A-F]{2}(?P=sign)){4}[0-9A-F]{2}|(?:[0-9A-F]{4}\.){2}[0-9A-F]{4})"
    r"(?![\w:-]|\.\w)",
    re.IGNORECASE | re.ASCII,
)
VERSION = re.compile(r"(?:\bv|version|firmware|build|release|driver|update to) ?$", re.IGNORECASE)
URL = re.compile(
    r"(?<![\w+.-])[A-Za-z][A-Za-z0-9+.-]{1,20}+://(?P<user>[^\s/@:<>\"']{0,128}+:[^\s/@<>\"']{1,256}+)@(?=[\w\[])"
)
LEAST_GROUPS = 3  # of an IPv6 address, so that a::b of a programming language is none


def find_url_credentials(text: str) -> Iterator[Span]:
    """`user:password` of a URL; the address around it stays."""
    for match in URL.finditer(text):
        yield Span("url_credentials", *match.span("user"), match["user"])


def find_ips(text: str) -> Iterator[Span]:
    """Addresses that may be somebody's: not those of the machine itself."""
    for pattern in (IPV4, IPV6) if ":" in text else (IPV4,):
        for match in pattern.finditer(text):
            if _is_ip(match[0]) and not VERSION.search(around(text, *match.span())[0]):
                yield Span("ip", *match.span(), match[0])


def _is_ip(value: str) -> bool:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    if address.version == 6 and len([group for group in value.split(":") if group]) < LEAST_GROUPS:
        return False
    return not (address.is_loopback or address.is_unspecified)


def find_macs(text: str) -> Iterator[Span]:
    for match in MAC.finditer(text):
        if len(set(match[0]) - set(":-.")) > 1:  # 00:00:00:00:00:00 and the broadcast address are nobody's
            yield Span("mac", *match.span(), match[0])
