"""Idempotency keys: the same request made twice is one run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from pydantic import BaseModel

from runtime.events.keys import Keys
from runtime.protocol.ids import new_id

EVERYBODY = ""
"""The scope of all callers, who share their keys as long as they cannot be told apart."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What is stored of a request made under an idempotency key: digests, and nothing that it says."""

    digest: str
    """Of the key, and of who uses it."""
    fingerprint: str
    """Of the request, without its key."""


def claim_of(request: BaseModel, key: str | None, *, scope: str = EVERYBODY) -> Claim | None:
    """The claim of a request; None without a key. Callers of different scopes never meet each other's keys."""
    if key is None:
        return None
    # Without the defaults: a default that is spelt out, or that a later version adds, makes no other request.
    body = request.model_dump(mode="json", exclude={"idempotency_key"}, exclude_defaults=True)
    # With the key, which nobody can read in Redis: of the body alone a guess at its credentials could be tried there.
    return Claim(digest=_digest([scope, key]), fingerprint=_digest([key, body]))


def new_run_id(keys: Keys, claim: Claim | None) -> str:
    """An id for a new run. In a cluster it shares the bucket of its claim, as one script writes both."""
    run_id = new_id()
    while claim is not None and keys.bucket(run_id) != keys.bucket(claim.digest):
        run_id = new_id()
    return run_id


def _digest(value: object) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
