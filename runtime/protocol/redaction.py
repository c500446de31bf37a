"""Redaction: credentials kept out of texts, by their value."""

from __future__ import annotations

import json
from collections.abc import Iterable

REDACTED = "[REDACTED]"

MIN_SECRET_LENGTH = 4
"""Shorter values are too common in ordinary text to be told from it."""


class Redactor:
    """Replaces every known secret value in a text, as it is or escaped inside JSON."""

    def __init__(self, secrets: Iterable[str]) -> None:
        long_enough = [secret for secret in secrets if len(secret) >= MIN_SECRET_LENGTH]
        spellings = {*long_enough, *(json.dumps(secret)[1:-1] for secret in long_enough)}
        # One value may contain another: the longer one goes first.
        self._spellings = sorted(spellings, key=len, reverse=True)

    def clean(self, text: str) -> str:
        for secret in self._spellings:
            text = text.replace(secret, REDACTED)
        return text
