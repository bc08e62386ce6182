"""API keys: who may ask a server, and for what. A private file holds their hashes; a key itself is shown once.

A key is 256 random bits, so a plain SHA-256 of it cannot be guessed back. A running server sees a key that is created
or revoked at its next request.
"""

import hashlib
import hmac
import json
import logging
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from retune.errors import Broken, Refused, WrongUse
from retune.registry import backend
from retune.system import files, locks

LOG = logging.getLogger("retune.serve")
FILE = "api-keys.json"
PREFIX = "retune_"  # so that a search for secrets finds a key
ADMIN = "admin"
SCOPES = ("predict", "feedback", ADMIN)
PATIENCE = 10  # seconds for another command that changes the keys


@dataclass(frozen=True)
class ApiKey:
    name: str
    scopes: tuple[str, ...]
    sha256: str
    created: str  # ISO 8601, UTC

    def allows(self, scope: str) -> bool:
        """admin may do all."""
        return scope in self.scopes or ADMIN in self.scopes


def path() -> Path:
    return backend.state() / FILE


def create(name: str, scopes: Sequence[str]) -> str:
    """A new key, which is stored nowhere. Raises Refused if there is one of that name, WrongUse for an empty one."""
    if not name.strip() or not name.isprintable():
        raise WrongUse(f"an API key needs a name that people can read, and got {name!r}")
    key = PREFIX + secrets.token_urlsafe(32)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    with locks.waiting(path().with_suffix(".lock"), PATIENCE, "command that changes the API keys"):
        keys = read(path())
        if any(each.name == name for each in keys):
            raise Refused(f"there is an API key {name!r}: choose another name, or revoke that one first")
        _write([*keys, ApiKey(name, tuple(dict.fromkeys(scopes)), _hash(key), created)])
    return key


def revoke(name: str) -> None:
    """Raises Refused if there is no key of that name."""
    with locks.waiting(path().with_suffix(".lock"), PATIENCE, "command that changes the API keys"):
        keys = read(path())
        others = [each for each in keys if each.name != name]
        if len(others) == len(keys):
            names = ", ".join(each.name for each in keys) or "none"
            raise Refused(f"there is no API key {name!r}: those there are: {names}")
        _write(others)


def read(file: Path) -> list[ApiKey]:
    """Raises Broken if the file is damaged."""
    try:
        keys = json.loads(file.read_text("utf-8"))
        return [ApiKey(**{**each, "scopes": tuple(each["scopes"])}) for each in keys]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError) as error:
        wrong = f"{file} is damaged ({type(error).__name__})"
        raise Broken(wrong, remedy="restore it, or delete it and create the keys anew") from None


class KeyRing:
    """The keys of a file, as they are now."""

    def __init__(self, file: Path) -> None:
        """Raises Broken if the file is damaged."""
        self._file = file
        self._state, self._keys = self._stat(), read(file)

    def __len__(self) -> int:
        self._refresh()
        return len(self._keys)

    def find(self, key: str) -> ApiKey | None:
        """The entry of a key. Takes as long for one that is almost right as for any other."""
        self._refresh()
        sha256 = _hash(key)
        matches = [each for each in self._keys if hmac.compare_digest(each.sha256, sha256)]
        return matches[0] if matches else None

    def _refresh(self) -> None:
        """A file that is damaged while the server runs lets nobody in."""
        state = self._stat()
        if state != self._state:
            self._state = state
            try:
                self._keys = read(self._file)
            except (Broken, OSError) as error:
                LOG.error("no API key is taken: %s", error)
                self._keys = []

    def _stat(self) -> tuple[int, int] | None:
        try:
            facts = self._file.stat()
        except OSError:
            return None
        return facts.st_ino, facts.st_mtime_ns


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _write(keys: Sequence[ApiKey]) -> None:
    files.write_private_text(path(), json.dumps([asdict(each) for each in keys], indent=2) + "\n")
