"""Marks of credentials: what is shown of them, so that people can tell which one it is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from services.souls.digest import canonical_json
from services.souls.secret_names import names_secret

LAST_CHARS = 4
LEAST_CHARS = 12
"""Of shorter secrets the last four characters would reveal too much."""

FINGERPRINT_CHARS = 8


@dataclass(frozen=True, slots=True)
class CredentialMarks:
    """Enough to compare with a secret at hand, and not enough to use it."""

    last4: str
    """Empty when the last characters may not be shown."""
    fingerprint: str


def marks_of(values: Mapping[str, JsonValue]) -> CredentialMarks:
    """Returns the end of the first secret, and a hash of all of them in the order of their names."""
    secrets = _secrets(values)
    hashed = "\n".join(secrets).encode() if secrets else canonical_json(values)
    last4 = _last4(secrets[0].strip()) if secrets else ""
    return CredentialMarks(last4, hashlib.sha256(hashed).hexdigest()[:FINGERPRINT_CHARS])


def _secrets(values: Mapping[str, JsonValue]) -> list[str]:
    """Returns the texts that have the names of secrets; if there are none, all texts."""
    texts = {name: value for name, value in sorted(values.items()) if isinstance(value, str) and value}
    secrets = {name: text for name, text in texts.items() if names_secret(name)}
    return list((secrets or texts).values())


def _last4(secret: str) -> str:
    end = secret[-LAST_CHARS:]
    return end if len(secret) >= LEAST_CHARS and end.isprintable() else ""
