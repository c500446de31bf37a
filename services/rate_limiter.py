"""Limits the requests of each caller: every one has a bucket of tokens, refilled at a steady rate."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cachetools import LRUCache

from errors import RateLimited, StorageUnavailable

logger = logging.getLogger(__name__)

MAX_CALLERS = 10_000
"""The most callers in memory, some 3 MB. Beyond it the one not seen for longest is forgotten, and starts with a full
bucket."""

ALONE_SECONDS = 5.0
"""How long a worker counts alone before it tries the shared buckets again, which may take a second in vain."""

Caller = str | bytes


class TakeToken(Protocol):
    """Takes a token from a bucket that all workers share.

    Returns 0, or the seconds until there will be one. Raises StorageUnavailable.
    """

    def __call__(self, name: str, *, rate: float, burst: int) -> float: ...


@dataclass(slots=True)
class Bucket:
    """The tokens that a caller had left at a certain time."""

    left: float
    seen_at: float


class RateLimiter:
    """Lets each caller make ``burst`` requests at once, and ``rate`` a second in the long run; 0 means no limit.

    With ``take_token`` this holds for all workers together. While it fails, and without it, each worker counts alone.
    """

    def __init__(
        self,
        *,
        rate: float,
        burst: int,
        take_token: TakeToken | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._take_token = take_token
        self._clock = clock
        self._buckets: LRUCache[Caller, Bucket] = LRUCache(MAX_CALLERS)
        self._alone_until: float | None = None

    @property
    def is_on(self) -> bool:
        return self._rate > 0

    @property
    def caller_count(self) -> int:
        """How many callers are in memory."""
        return len(self._buckets)

    def take(self, caller: Caller) -> None:
        """Counts one request of a caller. Raises RateLimited when there is no token left."""
        if not self.is_on:
            return
        # What is taken here is taken from the shared bucket too: with nothing left here, Redis need not be asked.
        wait = self._wait(caller) or self._wait_for_all(caller)
        bucket = self._bucket(caller)
        if wait:
            bucket.left = min(bucket.left, 1 - wait * self._rate)
            raise RateLimited(math.ceil(wait))
        bucket.left -= 1

    def _wait(self, caller: Caller) -> float:
        """Returns the seconds until this worker has a token for a caller."""
        return max(0.0, (1 - self._bucket(caller).left) / self._rate)

    def _wait_for_all(self, caller: Caller) -> float:
        """Takes a token from the shared bucket, if there is one, and returns the seconds until there will be one."""
        if self._take_token is None or (self._alone_until is not None and self._clock() < self._alone_until):
            return 0.0
        # Redis need not know the callers or their tokens.
        name = hashlib.sha256(caller if isinstance(caller, bytes) else caller.encode()).hexdigest()
        try:
            wait = self._take_token(name, rate=self._rate, burst=self._burst)
        except StorageUnavailable:
            if self._alone_until is None:
                logger.warning("rate limit: Redis does not answer, so each worker counts by itself")
            self._alone_until = self._clock() + ALONE_SECONDS
            return self._wait(caller)  # others may have taken tokens in the meantime
        if self._alone_until is not None:
            logger.info("rate limit: counted across all workers again")
            self._alone_until = None
        return wait

    def _bucket(self, caller: Caller) -> Bucket:
        """Returns the caller's bucket as of now."""
        now = self._clock()
        bucket = self._buckets.pop(caller, None) or Bucket(self._burst, now)
        bucket.left = min(self._burst, bucket.left + (now - bucket.seen_at) * self._rate)
        bucket.seen_at = now
        self._buckets[caller] = bucket
        return bucket
