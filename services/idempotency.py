"""Idempotency keys: the same request made twice is one run."""

from __future__ import annotations

import hashlib
import json

from pydantic import BaseModel

from runtime.runs import Claim

EVERYBODY = ""
"""The scope of all callers, who share their keys as long as they cannot be told apart."""


def claim_of(request: BaseModel, key: str | None, *, scope: str = EVERYBODY) -> Claim | None:
    """The claim of a request; None without a key. Callers of different scopes never meet each other's keys."""
    if key is None:
        return None
    # Without the defaults: a default that is spelt out, or that a later version adds, makes no other request.
    body = request.model_dump(mode="json", exclude={"idempotency_key"}, exclude_defaults=True)
    # With the key, which nobody can read in Redis: of the body alone a guess at its credentials could be tried there.
    return Claim(digest=_digest([scope, key]), fingerprint=_digest([key, body]))


def _digest(value: object) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
