"""When the reaper may conclude that a worker which has not renewed a lease is lost."""

from __future__ import annotations

from runtime.execution.reaper import BREAK_SECONDS, RedisWatch

LEASE = 10.0


def watch_that_saw(*times: float) -> RedisWatch:
    watch = RedisWatch(LEASE)
    for now in times:
        watch.answered(now)
    return watch


def test_answers_for_as_long_as_a_lease_are_enough() -> None:
    assert not watch_that_saw().is_long_enough
    assert not watch_that_saw(*range(100, 110)).is_long_enough
    assert watch_that_saw(*range(100, 111)).is_long_enough


def test_a_failed_answer_starts_the_wait_again() -> None:
    watch = watch_that_saw(*range(100, 111))

    watch.broken()

    assert not watch.is_long_enough
    for now in range(111, 121):
        watch.answered(now)
    assert not watch.is_long_enough
    watch.answered(121)
    assert watch.is_long_enough


def test_a_gap_without_looks_starts_the_wait_again() -> None:
    assert not watch_that_saw(*range(100, 111), 110 + BREAK_SECONDS + 0.1).is_long_enough


def test_a_changed_clock_of_redis_starts_the_wait_again() -> None:
    assert not watch_that_saw(*range(100, 111), 3710).is_long_enough
    assert not watch_that_saw(*range(100, 111), 50).is_long_enough
