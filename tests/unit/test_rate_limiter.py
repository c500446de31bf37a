"""The buckets behind the rate limit, and whose bucket a request takes from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection

import pytest
from flask import Request
from pydantic import ValidationError
from werkzeug.test import EnvironBuilder

from blueprints.rate_limit import caller_network
from errors import RateLimited, StorageUnavailable
from services import rate_limiter
from services.rate_limiter import RateLimiter
from settings import Settings


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def taken(take: Callable[[], None], most: int = 1000) -> int:
    """How often it can be taken before it is refused."""
    for count in range(most):
        try:
            take()
        except RateLimited:
            return count
    return most


def test_a_caller_may_send_a_burst_and_then_requests_at_the_rate() -> None:
    clock = Clock()
    limiter = RateLimiter(rate=2, burst=5, clock=clock)

    assert taken(lambda: limiter.take("a")) == 5
    clock.now += 1
    assert taken(lambda: limiter.take("a")) == 2
    clock.now += 1000
    assert taken(lambda: limiter.take("a")) == 5


def test_the_refusal_says_when_to_retry_and_that_is_true() -> None:
    clock = Clock()
    limiter = RateLimiter(rate=0.1, burst=1, clock=clock)
    limiter.take("a")

    with pytest.raises(RateLimited) as refused:
        limiter.take("a")

    assert refused.value.headers == {"Retry-After": "10"}
    clock.now += 10
    assert taken(lambda: limiter.take("a")) == 1


def test_callers_have_buckets_of_their_own() -> None:
    limiter = RateLimiter(rate=1, burst=2, clock=Clock())

    assert taken(lambda: limiter.take("a")) == 2
    assert taken(lambda: limiter.take("b")) == 2


def test_a_rate_of_zero_lets_all_pass_and_remembers_nobody() -> None:
    limiter = RateLimiter(rate=0, burst=1)

    assert taken(lambda: limiter.take("a"), most=100) == 100
    assert limiter.caller_count == 0


def test_the_callers_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limiter, "MAX_CALLERS", 10)
    limiter = RateLimiter(rate=1, burst=1, clock=Clock())

    for number in range(100):
        limiter.take(str(number))

    assert limiter.caller_count == 10
    assert taken(lambda: limiter.take("99")) == 0


class SharedBuckets:
    """What all workers share, as it is told to be: in how many seconds there is a token, or that it is away."""

    def __init__(self) -> None:
        self.wait = 0.0
        self.is_away = False
        self.asked: list[str] = []

    def take(self, name: str, *, rate: float, burst: int) -> float:
        self.asked.append(name)
        if self.is_away:
            raise StorageUnavailable
        return self.wait


def test_a_caller_over_this_workers_limit_is_refused_without_asking_redis() -> None:
    shared = SharedBuckets()
    limiter = RateLimiter(rate=1, burst=3, take_token=shared.take, clock=Clock())

    assert [taken(lambda: limiter.take("a")) for _ in range(5)] == [3, 0, 0, 0, 0]
    assert len(shared.asked) == 3


def test_a_caller_over_the_shared_limit_is_refused_until_a_token_is_back() -> None:
    shared, clock = SharedBuckets(), Clock()
    limiter = RateLimiter(rate=0.5, burst=3, take_token=shared.take, clock=clock)
    shared.wait = 7

    for _ in range(2):
        with pytest.raises(RateLimited) as refused:
            limiter.take("a")
        assert refused.value.headers == {"Retry-After": "7"}
    shared.wait = 0
    clock.now += 7

    assert taken(lambda: limiter.take("a")) == 1
    assert len(shared.asked) == 2


def test_without_the_shared_buckets_a_worker_counts_alone_and_asks_again_later() -> None:
    shared, clock = SharedBuckets(), Clock()
    limiter = RateLimiter(rate=1, burst=3, take_token=shared.take, clock=clock)
    shared.is_away = True

    assert taken(lambda: limiter.take("a")) == 3
    assert len(shared.asked) == 1
    clock.now += rate_limiter.ALONE_SECONDS
    shared.is_away, shared.wait = False, 2

    assert taken(lambda: limiter.take("a")) == 0
    assert len(shared.asked) == 2


def test_a_request_during_a_failing_call_of_redis_is_counted() -> None:
    limiter: RateLimiter

    def fail_slowly(name: str, *, rate: float, burst: int) -> float:
        if len(asked) < 3:
            asked.append(name)
            limiter.take("a")
        raise StorageUnavailable

    asked: list[str] = []
    limiter = RateLimiter(rate=1, burst=2, take_token=fail_slowly, clock=Clock())

    assert taken(lambda: limiter.take("a")) == 0
    assert len(asked) == 3


def test_neither_tokens_nor_addresses_are_sent_to_redis() -> None:
    shared = SharedBuckets()
    limiter = RateLimiter(rate=1, burst=3, take_token=shared.take)

    limiter.take("198.51.100.1")
    limiter.take(hashlib.sha256(b"a token").digest())

    assert all(re.fullmatch("[0-9a-f]{64}", name) for name in shared.asked)
    assert hashlib.sha256(b"a token").hexdigest() not in shared.asked


@pytest.mark.parametrize(
    ("value", "rate", "burst"),
    [("", 0, 1), ("0", 0, 1), ("10", 10, 10), ("0.5", 0.5, 1), ("2.5", 2.5, 3), ("10/50", 10, 50), ("5/1", 5, 1)],
)
def test_the_setting_is_a_rate_and_what_may_come_at_once(value: str, rate: float, burst: int) -> None:
    settings = Settings(rate_limit=value)

    assert (settings.requests_a_second, settings.requests_at_once) == (rate, burst)


@pytest.mark.parametrize("value", ["ten", "-1", "10/", "10/0", "10/1.5", "/5", "1e3", "10 / 50", "nan", "\u0661"])
def test_a_rate_that_cannot_work_is_refused(value: str) -> None:
    with pytest.raises(ValidationError, match="requests a second"):
        Settings(rate_limit=value)


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "caller"),
    [
        ("192.0.2.1", None, (), "192.0.2.1"),
        ("192.0.2.1", "198.51.100.9", (), "192.0.2.1"),
        ("192.0.2.1", "198.51.100.9", ("10.0.0.0/8",), "192.0.2.1"),
        ("10.0.0.1", "198.51.100.9", ("10.0.0.0/8",), "198.51.100.9"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.9", ("10.0.0.0/8",), "198.51.100.9"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.9, 10.0.0.2", ("10.0.0.0/8",), "198.51.100.9"),
        ("10.0.0.1", "1.1.1.1, nonsense", ("10.0.0.0/8",), "10.0.0.1"),
        ("10.0.0.1", "", ("10.0.0.1",), "10.0.0.1"),
        ("10.0.0.1", None, ("10.0.0.1",), "10.0.0.1"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.9", ("*",), "198.51.100.9"),
        ("", "198.51.100.9", ("127.0.0.1",), "198.51.100.9"),
        ("", "198.51.100.9", (), ""),
        ("::1", "2001:db8:1:2:3:4:5:6", ("::1",), "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", None, (), "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", None, (), "::ffff:192.0.2.1"),
        ("::ffff:10.0.0.1", "198.51.100.9", ("10.0.0.0/8",), "198.51.100.9"),
    ],
)
def test_only_a_trusted_proxy_may_name_the_caller_behind_it(
    peer: str, forwarded: str | None, trusted: Collection[str], caller: str
) -> None:
    headers = [] if forwarded is None else [("X-Forwarded-For", forwarded)]
    request = Request(EnvironBuilder(headers=headers, environ_overrides={"REMOTE_ADDR": peer}).get_environ())

    assert caller_network(request, trusted) == caller
