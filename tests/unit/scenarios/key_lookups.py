"""Scenarios of KeyLookups, over a query that counts."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import gevent

from errors import DatabaseUnavailable
from models.enums import KeyKind
from services.key_cache import KeyHolder
from services.key_lookups import KeyLookups

VALID = KeyHolder("id", "tenant", KeyKind.WORKSPACE, None, None)


class Keys:
    """A lookup that knows one key, and records what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[set[str]] = []
        self.is_away = False

    def __call__(self, digests: Collection[str]) -> Mapping[str, KeyHolder]:
        self.asked.append(set(digests))
        gevent.sleep(0.01)
        if self.is_away:
            raise DatabaseUnavailable
        return {"valid": VALID} if "valid" in digests else {}


def a_known_key_is_looked_up_at_once() -> None:
    keys = Keys()
    lookups = KeyLookups(keys)

    assert lookups.find("valid") is VALID
    assert keys.asked == [{"valid"}]


def an_unknown_key_is_remembered() -> None:
    keys = Keys()
    lookups = KeyLookups(keys)

    assert [lookups.find("none") for _ in range(100)] == [None] * 100
    assert keys.asked == [{"none"}]


def callers_with_the_same_key_share_an_answer() -> None:
    keys = Keys()
    lookups = KeyLookups(keys)

    jobs = [gevent.spawn(lookups.find, "valid") for _ in range(50)]
    gevent.joinall(jobs, timeout=10, raise_error=True)

    assert {job.value for job in jobs} == {VALID}
    assert keys.asked == [{"valid"}]


def many_unknown_keys_are_looked_up_together_and_a_valid_one_is_still_found() -> None:
    keys = Keys()
    lookups = KeyLookups(keys)

    jobs = []
    for number in range(300):
        jobs.append(gevent.spawn(lookups.find, f"none-{number}"))
        gevent.sleep(0.002)
    valid = gevent.spawn(lookups.find, "valid")
    gevent.joinall([*jobs, valid], timeout=20, raise_error=True)

    assert valid.value is VALID
    assert {job.value for job in jobs} == {None}
    assert len(keys.asked) < 60
    assert sum(map(len, keys.asked)) == 301


def an_outage_reaches_all_who_wait_and_is_not_remembered() -> None:
    keys = Keys()
    keys.is_away = True
    lookups = KeyLookups(keys)

    jobs = [gevent.spawn(lookups.find, f"key-{number}") for number in range(5)]
    gevent.joinall(jobs, timeout=10)
    keys.is_away = False

    assert all(isinstance(job.exception, DatabaseUnavailable) for job in jobs)
    assert lookups.find("valid") is VALID


def a_caller_that_is_cut_off_leaves_nobody_waiting() -> None:
    keys = Keys()
    lookups = KeyLookups(keys)
    for number in range(10):
        lookups.find(f"none-{number}")

    first = gevent.spawn(lookups.find, "other")
    gevent.sleep(0)
    second = gevent.spawn(lookups.find, "valid")
    gevent.sleep(0)
    first.kill()

    assert second.get(timeout=10) is VALID
