"""Token buckets in Redis: limits on how often something may be done, which all workers share."""

from __future__ import annotations

import gevent

from errors import StorageUnavailable
from runtime.events.keys import Keys
from runtime.events.pipelined_connection import Requests
from runtime.events.store import run_script

WAIT_SECONDS = 1.0
"""How long to wait for Redis. It is less than other requests wait, because a caller can go on without a token."""
MICROSECONDS = 1_000_000


class TokenBuckets:
    """Buckets by name. A bucket holds up to ``burst`` tokens and gets ``rate`` tokens a second until it is full."""

    def __init__(self, link: Requests, keys: Keys) -> None:
        self._link = link
        self._keys = keys

    def take(self, name: str, *, rate: float, burst: int) -> float:
        """Takes a token. Returns 0, or the seconds until there will be one if there was none.

        ``name`` ends in hexadecimal digits. Raises StorageUnavailable; then a token may have been taken.
        """
        with gevent.Timeout(WAIT_SECONDS, StorageUnavailable):
            wait: int = run_script(
                self._link, "take_token", [self._keys.token_bucket(name)], [f"{MICROSECONDS / rate:.3f}", burst]
            )
        return wait / MICROSECONDS
