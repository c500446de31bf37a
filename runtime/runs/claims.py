"""Claims: what is stored of a request made under an idempotency key."""

from __future__ import annotations

from dataclasses import dataclass

from errors import IdempotencyKeyReused
from runtime.protocol.dialects import Dialect
from runtime.protocol.records import RunRecord


@dataclass(frozen=True, slots=True)
class Claim:
    """Digests, and nothing that the request says."""

    digest: str
    """Of the key, and of who uses it."""
    fingerprint: str
    """Of the request, without its key."""

    def require_same(self, fingerprint: str | None) -> None:
        """Raise IdempotencyKeyReused unless what is stored under the key is of the same request."""
        if fingerprint != self.fingerprint:
            raise IdempotencyKeyReused


def gives_key_up(earlier: RunRecord, dialect: Dialect) -> bool:
    """Whether a run leaves its idempotency key to another request in this dialect.

    A workflow node of Dify that goes on after a person's answer sends the key of its first run again.
    """
    return dialect.is_dated and earlier.has_ended
