"""Redaction: removes known credentials from texts."""

from __future__ import annotations

import html
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from functools import cached_property
from urllib.parse import quote, quote_plus

REDACTED = "[REDACTED]"

MIN_SECRET_LENGTH = 4
"""Shorter values occur too often in ordinary text."""

SCHEMES = frozenset({"basic", "bearer", "token"})

MIN_ENCODED_LENGTH = 8
"""The least length of a part of a base64 text that depends on one secret alone."""


class Redactor:
    """Replaces every known secret in a text, also in the escaped and encoded forms that programs write into errors."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = [spelling for secret in secrets for spelling in (secret, _without_scheme(secret))]
        self._secrets = [secret for secret in known if len(secret) >= MIN_SECRET_LENGTH]

    def clean(self, text: str) -> str:
        for spelling in self._spellings:
            text = text.replace(spelling, REDACTED)
        return text

    @cached_property
    def _spellings(self) -> list[str]:
        """Computed only for the first text, because most runs never have one."""
        spellings = {spelling for secret in self._secrets for spelling in _spellings_of(secret)}
        # One value may contain another, so longer ones are replaced first.
        return sorted(spellings, key=len, reverse=True)


def _without_scheme(secret: str) -> str:
    """Returns the key in the value of an Authorization header: errors may quote it without the scheme."""
    scheme, _, key = secret.partition(" ")
    return key.strip() if scheme.lower() in SCHEMES else ""


def _spellings_of(secret: str) -> Iterator[str]:
    escaped = json.dumps(secret)[1:-1]
    yield from (secret, escaped, json.dumps(secret, ensure_ascii=False)[1:-1])
    yield json.dumps(escaped)[1:-1]  # JSON inside a string of JSON
    yield repr(secret)[1:-1]
    yield from (html.escape(secret), html.escape(secret, quote=False))
    for percented in (quote(secret), quote(secret, safe=""), quote_plus(secret)):
        yield from (percented, _lower_hex(percented))
    yield from _base64_of(secret.encode())


def _lower_hex(percented: str) -> str:
    head, *rest = percented.split("%")
    return "%".join([head, *(part[:2].lower() + part[2:] for part in rest)])


def _base64_of(secret: bytes) -> Iterator[str]:
    """Yields the secret in base64: by itself, and the part that depends on it alone when other bytes surround it."""
    for encode in (b64encode, urlsafe_b64encode):
        yield encode(secret).decode().rstrip("=")
        for before in range(3):
            encoded = encode(bytes(before) + secret).decode()
            first = -(-before * 4 // 3)
            last = (before + len(secret)) // 3 * 4
            if last - first >= MIN_ENCODED_LENGTH:
                yield encoded[first:last]
