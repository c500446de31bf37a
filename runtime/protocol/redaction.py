"""Redaction: credentials kept out of texts, by their value."""

from __future__ import annotations

import html
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from functools import cached_property
from urllib.parse import quote, quote_plus

REDACTED = "[REDACTED]"

MIN_SECRET_LENGTH = 4
"""Shorter values are too common in ordinary text to be told from it."""

SCHEMES = frozenset({"basic", "bearer", "token"})

MIN_ENCODED_LENGTH = 8
"""Of the part of a base64 text that one secret alone decides."""


class Redactor:
    """Replaces every known secret value in a text, also where it is escaped or encoded as programs do it in errors."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = [spelling for secret in secrets for spelling in (secret, _without_scheme(secret))]
        self._secrets = [secret for secret in known if len(secret) >= MIN_SECRET_LENGTH]

    def clean(self, text: str) -> str:
        for spelling in self._spellings:
            text = text.replace(spelling, REDACTED)
        return text

    @cached_property
    def _spellings(self) -> list[str]:
        """Made when the first text comes, which most runs never have."""
        spellings = {spelling for secret in self._secrets for spelling in _spellings_of(secret)}
        # One value may contain another: the longer one goes first.
        return sorted(spellings, key=len, reverse=True)


def _without_scheme(secret: str) -> str:
    """The key in the value of an Authorization header: errors name it without what stands before it."""
    scheme, _, key = secret.partition(" ")
    return key.strip() if scheme.lower() in SCHEMES else ""


def _spellings_of(secret: str) -> Iterator[str]:
    escaped = json.dumps(secret)[1:-1]
    yield from (secret, escaped, json.dumps(secret, ensure_ascii=False)[1:-1])
    yield json.dumps(escaped)[1:-1]  # JSON in the string of another JSON
    yield repr(secret)[1:-1]
    yield from (html.escape(secret), html.escape(secret, quote=False))
    for percented in (quote(secret), quote(secret, safe=""), quote_plus(secret)):
        yield from (percented, _lower_hex(percented))
    yield from _base64_of(secret.encode())


def _lower_hex(percented: str) -> str:
    head, *rest = percented.split("%")
    return "%".join([head, *(part[:2].lower() + part[2:] for part in rest)])


def _base64_of(secret: bytes) -> Iterator[str]:
    """Of the secret by itself, and what it makes of base64 when something stands before and behind it."""
    for encode in (b64encode, urlsafe_b64encode):
        yield encode(secret).decode().rstrip("=")
        for before in range(3):
            encoded = encode(bytes(before) + secret).decode()
            first = -(-before * 4 // 3)
            last = (before + len(secret)) // 3 * 4
            if last - first >= MIN_ENCODED_LENGTH:
                yield encoded[first:last]
