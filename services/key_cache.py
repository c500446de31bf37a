"""A cache of valid keys, so that not every request queries the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cachetools import TTLCache

from models.enums import KeyKind

REMEMBERED_SECONDS = 3.0
"""A key that another process revokes is refused here after this time at the latest."""

MOST_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """The holder of a key, and what it gives access to."""

    key_id: str
    tenant_id: str
    kind: KeyKind
    agent_id: str | None
    """The one agent that an app's key gives access to."""
    expires_at: datetime | None

    def is_valid(self, now: datetime) -> bool:
        return self.expires_at is None or self.expires_at > now


class KeyCache:
    """The holders of keys by digest, each for a few seconds."""

    def __init__(self) -> None:
        self._known: TTLCache[str, KeyHolder] = TTLCache(MOST_REMEMBERED, ttl=REMEMBERED_SECONDS)

    def get(self, digest: str) -> KeyHolder | None:
        return self._known.get(digest)

    def put(self, digest: str, holder: KeyHolder) -> None:
        self._known[digest] = holder

    def forget(self, key_id: str) -> None:
        """Forgets a key, so that the database is asked when it is used next."""
        for digest in [digest for digest, holder in self._known.items() if holder.key_id == key_id]:
            self._known.pop(digest, None)
