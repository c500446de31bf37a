"""The format of API keys. Only their digests are stored."""

from __future__ import annotations

import base64
import hashlib
import secrets
import zlib
from dataclasses import dataclass

from models.enums import KeyKind

PREFIXES = {KeyKind.WORKSPACE: "ws-", KeyKind.APP: "app-"}
RANDOM_BYTES = 36
"""288 bits, of which 258 remain secret: the rest is shown as the prefix."""
RANDOM_CHARS = RANDOM_BYTES * 4 // 3
SHOWN_CHARS = 5
CHECKSUM_CHARS = 6
"""The length of the checksum at the end of a key, which spares the database a query for a mistyped or made-up one.
Older keys have no checksum, and are shorter by that."""


@dataclass(frozen=True, slots=True)
class KeySecret:
    """A new key, and what is stored of it."""

    key: str
    prefix: str
    digest: str


def new_secret(kind: KeyKind) -> KeySecret:
    """Returns a new random key."""
    key = PREFIXES[kind] + secrets.token_urlsafe(RANDOM_BYTES)
    key += _checksum(key)
    return KeySecret(key, prefix=key[: len(PREFIXES[kind]) + SHOWN_CHARS], digest=digest_of(key))


def may_be_key(text: str) -> bool:
    """Whether a text has the format of a key. It need not be a valid one."""
    for prefix in PREFIXES.values():
        if text.startswith(prefix):
            has_checksum = len(text) == len(prefix) + RANDOM_CHARS + CHECKSUM_CHARS
            return not has_checksum or text[-CHECKSUM_CHARS:] == _checksum(text[:-CHECKSUM_CHARS])
    return False


def digest_of(key: str) -> str:
    """Returns the digest by which a key is found."""
    return hashlib.sha256(key.encode()).hexdigest()


def _checksum(text: str) -> str:
    return base64.urlsafe_b64encode(zlib.crc32(text.encode()).to_bytes(4, "big")).decode()[:CHECKSUM_CHARS]
