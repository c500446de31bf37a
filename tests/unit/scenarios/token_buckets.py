"""Scenarios of the token buckets in Redis, in a process that is patched."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis import Redis

from errors import StorageUnavailable
from runtime.events.keys import Keys
from runtime.events.pipelined_connection import PipelinedConnection
from runtime.events.token_buckets import MICROSECONDS, TokenBuckets
from tests.support.patched import eventually

KEYS = Keys("token-buckets")
SLOW = 0.001
"""Tokens a second: none comes within a test."""
SECONDS_OF_A_TOKEN = 1 / SLOW


def a_bucket_has_its_tokens_at_once_and_then_says_when_the_next_one_comes(url: str) -> None:
    with _buckets(url) as buckets:
        name = _name("at-once")

        waits = [buckets.take(name, rate=SLOW, burst=3) for _ in range(5)]

        assert waits[:3] == [0, 0, 0]
        assert all(0.9 * SECONDS_OF_A_TOKEN < wait <= SECONDS_OF_A_TOKEN for wait in waits[3:])


def a_bucket_refills_at_its_rate_and_not_above_its_size(url: str) -> None:
    with _buckets(url) as buckets:
        name = _name("refill")
        _take_all(buckets, name, burst=3)

        _let_pass(url, name, 2 * SECONDS_OF_A_TOKEN)
        assert _take_all(buckets, name, burst=3) == 2
        _let_pass(url, name, 100 * SECONDS_OF_A_TOKEN)
        assert _take_all(buckets, name, burst=3) == 3


def names_have_buckets_of_their_own(url: str) -> None:
    with _buckets(url) as buckets:
        assert [_take_all(buckets, _name(name), burst=2) for name in ("own-a", "own-b")] == [2, 2]


def a_bucket_is_kept_until_it_is_full_again(url: str) -> None:
    with _buckets(url) as buckets:
        slow, fast = _name("slow"), _name("fast")

        buckets.take(slow, rate=SLOW, burst=3)
        buckets.take(fast, rate=1000, burst=3)

        redis: Any = Redis.from_url(url)
        assert 0 < redis.pttl(KEYS.token_bucket(slow)) <= SECONDS_OF_A_TOKEN * 1000
        eventually(lambda: not redis.exists(KEYS.token_bucket(fast)))


def a_clock_that_is_set_back_empties_a_bucket_and_no_more(url: str) -> None:
    with _buckets(url) as buckets:
        name = _name("set-back")
        buckets.take(name, rate=SLOW, burst=3)
        _let_pass(url, name, -1e9)

        assert 0 < buckets.take(name, rate=SLOW, burst=3) <= SECONDS_OF_A_TOKEN


def scripts_may_be_flushed(url: str) -> None:
    with _buckets(url) as buckets:
        name = _name("flushed")
        buckets.take(name, rate=SLOW, burst=1)

        Redis.from_url(url).script_flush()

        assert buckets.take(name, rate=SLOW, burst=1) > 0


def a_redis_that_takes_no_writes_counts_as_away(url: str) -> None:
    redis = Redis.from_url(url)
    redis.replicaof("127.0.0.1", "1")
    try:
        with _buckets(url) as buckets:
            buckets.take(_name("replica"), rate=SLOW, burst=1)
        raise AssertionError("a token was taken")
    except StorageUnavailable:
        pass
    finally:
        redis.replicaof("NO", "ONE")


@contextmanager
def _buckets(url: str) -> Iterator[TokenBuckets]:
    link = PipelinedConnection(url, name="token-buckets")
    link.start()
    try:
        yield TokenBuckets(link, KEYS)
    finally:
        link.close()


def _name(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _take_all(buckets: TokenBuckets, name: str, *, burst: int) -> int:
    """How many there were."""
    for count in range(burst + 1):
        if buckets.take(name, rate=SLOW, burst=burst) > 0:
            return count
    raise AssertionError("there were more than fit in")


def _let_pass(url: str, name: str, seconds: float) -> None:
    """As if so much time had passed since the last take."""
    redis: Any = Redis.from_url(url)
    key = KEYS.token_bucket(name)
    redis.set(key, int(redis.get(key)) - int(seconds * MICROSECONDS))
