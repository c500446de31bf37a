"""Claims: what is stored about a request that was made under an idempotency key."""

from __future__ import annotations

from dataclasses import dataclass

from errors import IdempotencyKeyReused
from runtime.protocol.dialects import Dialect
from runtime.protocol.records import RunRecord


@dataclass(frozen=True, slots=True)
class Claim:
    """The claim of one request: two digests, and nothing of the request's content."""

    digest: str
    """The digest of the key and of the caller who uses it."""
    fingerprint: str
    """The digest of the request, without its key."""

    def require_same(self, fingerprint: str | None) -> None:
        """Raises IdempotencyKeyReused unless the ``fingerprint`` stored under the key is that of the same request."""
        if fingerprint != self.fingerprint:
            raise IdempotencyKeyReused


def gives_key_up(earlier: RunRecord, dialect: Dialect) -> bool:
    """Returns whether another request of this dialect may reuse the idempotency key of this run.

    A workflow node of Dify that continues after a person's answer sends the key of its first run again.
    """
    return dialect.is_dated and earlier.has_ended
