"""Token buckets in Redis, which all workers share: how often something may be done, whichever of them does it."""

from __future__ import annotations

import gevent

from errors import StorageUnavailable
from runtime.events.keys import Keys
from runtime.events.pipelined_connection import Requests
from runtime.events.store import run_script

WAIT_SECONDS = 1.0
"""For Redis. Less than requests wait for it: who asks for a token has not begun yet, and can do without."""
MICROSECONDS = 1_000_000


class TokenBuckets:
    """A bucket for each name: it holds ``burst`` tokens, and gets ``rate`` a second until it is full."""

    def __init__(self, link: Requests, keys: Keys) -> None:
        self._link = link
        self._keys = keys

    def take(self, name: str, *, rate: float, burst: int) -> float:
        """Take a token: 0 when there was one, and otherwise in how many seconds there will be.

        ``name`` ends in hexadecimal digits. Raises StorageUnavailable; then a token may have been taken.
        """
        with gevent.Timeout(WAIT_SECONDS, StorageUnavailable):
            wait: int = run_script(
                self._link, "take_token", [self._keys.token_bucket(name)], [f"{MICROSECONDS / rate:.3f}", burst]
            )
        return wait / MICROSECONDS
