"""Looks up keys in the database, and keeps made-up keys from flooding it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

import gevent
from cachetools import TTLCache
from gevent.event import AsyncResult

from services.key_cache import REMEMBERED_SECONDS, KeyHolder

MISSES_AT_ONCE = 5
"""With more invalid keys than this within ``BATCH_SECONDS``, unknown keys are looked up together."""
BATCH_SECONDS = 0.25
MOST_MISSES = 10_000

Query = Callable[[Collection[str]], Mapping[str, KeyHolder]]
"""Returns the holders of the valid keys among these digests."""


class KeyLookups:
    """Looks keys up by their digest.

    An invalid key is cached for a few seconds. While many different ones come, there is one query every
    ``BATCH_SECONDS``, for all keys that have come meanwhile: a valid one waits no longer than that, and the database
    gets a few queries a second.
    """

    def __init__(self, query: Query) -> None:
        self._query = query
        self._misses: TTLCache[str, bool] = TTLCache(MOST_MISSES, ttl=REMEMBERED_SECONDS)
        self._recent: TTLCache[str, bool] = TTLCache(MISSES_AT_ONCE, ttl=BATCH_SECONDS)
        self._asked_at = 0.0
        self._answers: dict[str, AsyncResult[KeyHolder | None]] = {}
        self._batch: list[str] = []

    def find(self, digest: str) -> KeyHolder | None:
        """Returns the holder of the key with this digest, or None. Raises what the query raises."""
        if digest in self._misses:
            return None
        answer = self._answers.get(digest)
        if answer is not None:
            return answer.get()
        answer = self._answers[digest] = AsyncResult()
        self._batch.append(digest)
        if len(self._batch) == 1:
            try:
                self._wait_for_others()
            finally:  # the others wait for the answer, even if this caller is interrupted
                self._ask()
        return answer.get()

    def _wait_for_others(self) -> None:
        if len(self._recent) >= MISSES_AT_ONCE:
            gevent.sleep(max(0.0, self._asked_at + BATCH_SECONDS - time.monotonic()))

    def _ask(self) -> None:
        batch, self._batch = self._batch, []
        self._asked_at = time.monotonic()
        try:
            found = self._query(batch)
        except BaseException as error:
            for digest in batch:
                self._answers.pop(digest).set_exception(error)
            raise
        for digest in batch:
            holder = found.get(digest)
            if holder is None:
                self._misses[digest] = self._recent[digest] = True
            self._answers.pop(digest).set(holder)
