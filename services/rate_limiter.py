"""How many requests one caller may make: a bucket of tokens for each, refilled at a steady rate."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from cachetools import LRUCache

from errors import RateLimited

MAX_CALLERS = 10_000
"""Callers remembered at once, some 3 MB. Past it the one not seen for longest is forgotten, and begins afresh."""


@dataclass(slots=True)
class Bucket:
    """What a caller has left, as of a time."""

    left: float
    seen_at: float


class RateLimiter:
    """Lets each caller make ``burst`` requests at once, and ``rate`` a second in the long run; a rate of 0 lets all."""

    def __init__(self, *, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: LRUCache[Hashable, Bucket] = LRUCache(MAX_CALLERS)

    @property
    def is_on(self) -> bool:
        return self._rate > 0

    @property
    def caller_count(self) -> int:
        """How many callers are remembered."""
        return len(self._buckets)

    def take(self, caller: Hashable) -> None:
        """Count one request of a caller. Raises RateLimited when it has none left."""
        if not self.is_on:
            return
        now = self._clock()
        bucket = self._buckets.pop(caller, None) or Bucket(self._burst, now)
        bucket.left = min(self._burst, bucket.left + (now - bucket.seen_at) * self._rate)
        bucket.seen_at = now
        self._buckets[caller] = bucket
        if bucket.left < 1:
            raise RateLimited(math.ceil((1 - bucket.left) / self._rate))
        bucket.left -= 1
