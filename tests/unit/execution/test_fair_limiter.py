"""The limiter of a worker: what waits, what is refused, and whose turn is next."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errors import CapacityReached, TenantLimitReached
from runtime.execution.fair_limiter import WAITING_SHARE, Bounds, FairLimiter
from runtime.runs.executor import Place


class Worker:
    """A limiter, and the order in which it has let runs execute. Places are named after their tenant and number."""

    def __init__(self, active: int, waiting: int, **of_tenant: int) -> None:
        self.bounds = Bounds(active, waiting, **of_tenant)
        self.limiter = FairLimiter(self.bounds)
        self.places: dict[str, Place] = {}
        self.begun: list[str] = []
        self._numbers: Counter[str] = Counter()

    def take(self, tenant: str, **options: Any) -> str:
        """``-`` stands for no tenant."""
        place = self.limiter.take(None if tenant == "-" else tenant, **options)
        self._numbers[tenant] += 1
        name = f"{tenant}{self._numbers[tenant]}"
        self.places[name] = place
        if place.is_active:
            self.begun.append(name)
        place.on_turn = lambda: self.begun.append(name)
        return name

    def end(self, name: str) -> None:
        self.limiter.give_back(self.places.pop(name))

    def end_in_order(self) -> list[str]:
        """End the run that has begun first until none is left; the order in which all have begun."""
        for name in self.begun:
            if name in self.places:
                self.end(name)
        return self.begun


ORDERS = {
    "one tenant in its order": ("aaaa", "a1 a2 a3 a4"),
    "a newcomer is delayed by one place at most": ("aaaaab", "a1 a2 b1 a3 a4 a5"),
    "tenants take turns": ("aaaabbb", "a1 a2 b1 a3 b2 a4 b3"),
    "all of them": ("aaabbbccc", "a1 a2 b1 c1 a3 b2 c2 b3 c3"),
    "runs without a tenant are those of one more": ("---aa", "-1 -2 a1 -3 a2"),
}


@pytest.mark.parametrize(("comes", "begins"), ORDERS.values(), ids=ORDERS)
def test_runs_that_wait_for_one_place_begin_in_turns(comes: str, begins: str) -> None:
    worker = Worker(1, 100)

    for tenant in comes:
        worker.take(tenant)

    assert worker.end_in_order() == begins.split()


def test_a_free_place_goes_to_the_tenant_that_executes_the_fewest_runs() -> None:
    worker = Worker(4, 100)
    for tenant in "aaaa" + "aabb":
        worker.take(tenant)

    for ended in ("a1", "a2", "a3"):
        worker.end(ended)

    assert worker.begun[4:] == ["b1", "b2", "a5"]


def test_a_run_that_waits_no_longer_is_passed_over() -> None:
    worker = Worker(1, 100)
    for tenant in "aaab":
        worker.take(tenant)

    worker.end("a2")
    worker.end("b1")

    assert worker.end_in_order() == ["a1", "a3"]


REFUSALS = {
    "no place to execute in and none to wait in": (Bounds(2, 0), "aa", "b", CapacityReached),
    "all wait": (Bounds(1, 2), "aaa", "a", CapacityReached),
    "all wait, and another tenant comes": (Bounds(1, 2), "aaa", "b", CapacityReached),
    "more than a share": (Bounds(1, 10), "a" + 8 * "a", "a", TenantLimitReached),
    "more than a share without a tenant": (Bounds(1, 10), "-" + 8 * "-", "-", CapacityReached),
    "as many as a tenant may have wait": (Bounds(1, 10, tenant_waiting=2), "aaa", "a", TenantLimitReached),
    "a tenant executes all it may, and none may wait": (Bounds(3, 0, tenant_active=2), "aa", "a", TenantLimitReached),
}


@pytest.mark.parametrize(("bounds", "before", "comes", "error"), REFUSALS.values(), ids=REFUSALS)
def test_what_is_refused(bounds: Bounds, before: str, comes: str, error: type[CapacityReached]) -> None:
    worker = Worker(bounds.active, bounds.waiting)
    worker.limiter = FairLimiter(bounds)
    for tenant in before:
        worker.take(tenant)

    with pytest.raises(CapacityReached) as refused:
        worker.take(comes)

    assert type(refused.value) is error
    worker.take(comes, was_accepted=True)  # it was taken before


def test_a_tenant_that_waits_with_all_it_may_leaves_places_to_others() -> None:
    worker = Worker(1, 100)

    waiting = {tenant: _fill(worker, tenant) for tenant in "abcd"}

    assert waiting == {"a": 80 + 1, "b": 16, "c": 4, "d": 0}
    worker.end("a2")
    assert _fill(worker, "a") == 0
    assert _fill(worker, "d") == 1


def test_a_tenant_executes_no_more_than_it_may_and_leaves_the_places_to_others() -> None:
    worker = Worker(4, 10, tenant_active=2)
    for tenant in "aaabb--":
        worker.take(tenant)

    assert worker.begun == ["a1", "a2", "b1", "b2"]
    worker.end("b1")
    worker.end("b2")
    assert worker.begun[4:] == ["-1", "-2"]
    worker.take("-")
    worker.end("a1")
    worker.end("-1")

    assert worker.begun[6:] == ["a3", "-3"]


def _fill(worker: Worker, tenant: str) -> int:
    """How many runs of a tenant were taken until one was refused."""
    for count in range(1000):
        try:
            worker.take(tenant)
        except CapacityReached:
            return count
    raise AssertionError("none was refused")


@given(
    bounds=st.builds(
        Bounds,
        active=st.integers(1, 4),
        waiting=st.integers(0, 8),
        tenant_active=st.integers(0, 3),
        tenant_waiting=st.integers(0, 3),
    ),
    steps=st.lists(st.tuples(st.sampled_from("abc-"), st.integers(0, 20)), max_size=60),
)
def test_whatever_comes_and_goes_no_bound_is_exceeded_and_no_place_lost(
    bounds: Bounds, steps: list[tuple[str, int]]
) -> None:
    limiter = FairLimiter(bounds)
    places: list[Place] = []
    for tenant, number in steps:
        if number < len(places) and number % 2:
            limiter.give_back(places.pop(number))
            continue
        before = _waiting(places)
        try:
            places.append(limiter.take(None if tenant == "-" else tenant))
        except CapacityReached:
            free = bounds.waiting - before.total()
            mine = before[None if tenant == "-" else tenant]
            is_own_bound = bounds.tenant_waiting and mine >= bounds.tenant_waiting
            assert free <= 0 or mine >= WAITING_SHARE * free or is_own_bound

        active, waiting = Counter(place.tenant_id for place in places if place.is_active), _waiting(places)
        assert active.total() <= bounds.active
        assert waiting.total() <= bounds.waiting
        for one in set(active) - {None}:
            assert not bounds.tenant_active or active[one] <= bounds.tenant_active
            assert not bounds.tenant_waiting or waiting[one] <= bounds.tenant_waiting
        if active.total() < bounds.active:  # then only those wait whose tenant executes all it may
            assert all(active[one] == bounds.tenant_active for one in waiting)

    for place in places:
        limiter.give_back(place)
    assert all(limiter.take(None).is_active for _ in range(bounds.active))


def _waiting(places: list[Place]) -> Counter[str | None]:
    return Counter(place.tenant_id for place in places if not place.is_active)
