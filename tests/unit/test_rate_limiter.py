"""The buckets behind the rate limit, and whose bucket a request takes from."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pytest
from flask import Request
from pydantic import ValidationError
from werkzeug.test import EnvironBuilder

from blueprints.rate_limit import caller_network
from errors import RateLimited
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


def test_a_caller_may_come_so_often_at_once_and_then_at_the_rate() -> None:
    clock = Clock()
    limiter = RateLimiter(rate=2, burst=5, clock=clock)

    assert taken(lambda: limiter.take("a")) == 5
    clock.now += 1
    assert taken(lambda: limiter.take("a")) == 2
    clock.now += 1000
    assert taken(lambda: limiter.take("a")) == 5


def test_the_refusal_says_when_to_come_again_and_then_it_is_so() -> None:
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
        limiter.take(number)

    assert limiter.caller_count == 10
    assert taken(lambda: limiter.take(99)) == 0


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
def test_who_is_behind_a_proxy_is_known_by_the_word_of_trusted_ones_alone(
    peer: str, forwarded: str | None, trusted: Collection[str], caller: str
) -> None:
    headers = [] if forwarded is None else [("X-Forwarded-For", forwarded)]
    request = Request(EnvironBuilder(headers=headers, environ_overrides={"REMOTE_ADDR": peer}).get_environ())

    assert caller_network(request, trusted) == caller
