"""What a process remembers of valid keys, so that not every request asks the database."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

from models.enums import KeyKind
from services.remembered import Remembered

REMEMBERED_SECONDS = 3.0
"""A key that another process revokes is refused here after this long at the latest."""

MOST_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Who has a key, and what it opens."""

    key_id: str
    tenant_id: str
    kind: KeyKind
    agent_id: str | None
    """The one agent that the key of an app opens."""
    expires_at: datetime | None

    def is_valid(self, now: datetime) -> bool:
        return self.expires_at is None or self.expires_at > now


class KeyCache:
    """Holders by the digest of their key, each for a few seconds."""

    def __init__(self) -> None:
        self._known: Remembered[str, tuple[float, KeyHolder]] = Remembered(MOST_REMEMBERED)

    def get(self, digest: str) -> KeyHolder | None:
        until, holder = self._known.get(digest) or (0.0, None)
        return holder if time.monotonic() < until else None

    def put(self, digest: str, holder: KeyHolder) -> None:
        self._known.put(digest, (time.monotonic() + REMEMBERED_SECONDS, holder))

    def forget(self, key_id: str) -> None:
        """Ask the database the next time that this key comes."""
        for digest in [digest for digest, (_, holder) in self._known.items() if holder.key_id == key_id]:
            self._known.forget(digest)
