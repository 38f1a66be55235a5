"""API keys: random tokens, of which only SHA-256 hashes are kept, one `name:hash` a line.

A token has 256 random bits: nobody finds one by trying, so that a fast hash without salt is as safe as a slow
one (slow hashes are for passwords, which people choose). What does not belong here: requests (`gate`).
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping

from headrace.triggers.errors import UsageError

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")
_HASH = re.compile(r"[0-9a-f]{64}")
_PREFIX = "hr_"  # lets scanners for leaked secrets find it


def new_token() -> str:
    """A fresh key for a client."""
    return _PREFIX + secrets.token_urlsafe(32)


def line_of(name: str, token: str) -> str:
    """What is stored for a key; raises `UsageError` unless `name` is one."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"API key: expected a name of lower-case letters, digits, `-` and `.`, got `{name}`")
    return f"{name}:{hashlib.sha256(token.encode()).hexdigest()}"


def parse(text: str, at: str) -> Mapping[str, bytes]:
    """Name → hash of each stored key; empty lines and those that begin with `#` are skipped.

    Raises:
        UsageError: A line is none, or there is no key: nobody could call then.
    """
    found: dict[str, bytes] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if not line or line.startswith("#"):
            continue
        name, _, hashed = line.partition(":")
        if not _NAME.fullmatch(name) or not _HASH.fullmatch(hashed):
            raise UsageError(f"API keys: expected `name:<64 hex digits>` in line {number}, got neither - at `{at}`")
        if name in found:
            raise UsageError(f"API keys: expected one key named `{name}`, got two - at `{at}`")
        found[name] = bytes.fromhex(hashed)
    if not found:
        raise UsageError(f"API keys: expected at least one key, got none - at `{at}`")
    return found


class ApiKeys:
    """Knows who presents a token.

    Args:
        hashes: By name.
    """

    def __init__(self, hashes: Mapping[str, bytes]) -> None:
        self._hashes = tuple(hashes.items())
        self.names = tuple(hashes)

    def owner(self, token: bytes) -> str | None:
        """The key's name; all are compared, in constant time, whichever fits."""
        presented = hashlib.sha256(token).digest()
        owner = None
        for name, hashed in self._hashes:
            if hmac.compare_digest(presented, hashed):
                owner = name
        return owner
