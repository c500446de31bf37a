"""The concurrency limit of a worker: so many runs execute at once, others wait, and tenants take turns."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from errors import CapacityReached, TenantLimitReached
from runtime.runs.executor import Place

WAITING_SHARE = 4
"""A tenant has at most so many times as many runs waiting as there are places left to wait in. Alone it gets four
fifths of them; two that take all they can get leave a ninth, three a thirteenth."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many runs of a worker, and of one tenant there, execute at once and wait. Of a tenant 0 is no bound."""

    active: int
    waiting: int
    tenant_active: int = 0
    tenant_waiting: int = 0


class FairLimiter:
    """Gives out the places of a worker.

    A free place to execute in goes to the tenant that executes the fewest runs and, of several, to the one whose last
    turn is longest ago; its runs come in their order. Runs without a tenant are those of one more, which has no bounds
    of its own.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._active: Counter[str | None] = Counter()
        self._active_count = 0
        # The tenants with runs that wait, in the order of their turns, and their places in the order of theirs.
        self._lines: dict[str | None, dict[Place, None]] = {}
        self._waiting_count = 0

    def take(self, tenant_id: str | None, *, was_accepted: bool = False) -> Place:
        """A place for one more run; one that ``was_accepted`` before may wait beyond all bounds.

        Raises CapacityReached and TenantLimitReached.
        """
        if self._active_count < self._bounds.active and self._may_execute(tenant_id):
            self._add_active(tenant_id)
            return Place(tenant_id, is_active=True)
        if not was_accepted:
            self._check_room(tenant_id)
        place = Place(tenant_id, is_active=False)
        self._lines.setdefault(tenant_id, {})[place] = None
        self._waiting_count += 1
        return place

    def give_back(self, place: Place) -> None:
        """Let another run have a place, if it is one to execute in."""
        if not place.is_active:
            self._leave_line(place)
            return
        self._active_count -= 1
        self._active[place.tenant_id] -= 1
        if not self._active[place.tenant_id]:
            del self._active[place.tenant_id]
        self._promote()

    def _may_execute(self, tenant_id: str | None) -> bool:
        most = self._bounds.tenant_active
        return not most or tenant_id is None or self._active[tenant_id] < most

    def _check_room(self, tenant_id: str | None) -> None:
        waiting, free = len(self._lines.get(tenant_id, ())), self._bounds.waiting - self._waiting_count
        most = self._bounds.tenant_waiting
        if most and tenant_id is not None and waiting >= most:
            raise TenantLimitReached(f"{most} waiting runs")
        if free <= 0 and self._active_count < self._bounds.active:
            raise TenantLimitReached(f"{self._bounds.tenant_active} active runs")
        if free <= 0 or (tenant_id is None and waiting >= WAITING_SHARE * free):
            raise CapacityReached
        if waiting >= WAITING_SHARE * free:
            raise TenantLimitReached("its share of the waiting runs")

    def _promote(self) -> None:
        """Let the next run execute, if one waits that may."""
        waiting = [tenant_id for tenant_id in self._lines if self._may_execute(tenant_id)]
        if not waiting:
            return
        tenant_id = min(waiting, key=self._active.__getitem__)
        line = self._lines[tenant_id]
        place = next(iter(line))
        self._leave_line(place)
        if line:  # the next turn is that of the others
            self._lines[tenant_id] = self._lines.pop(tenant_id)
        self._add_active(tenant_id)
        place.is_active = True
        place.on_turn()

    def _add_active(self, tenant_id: str | None) -> None:
        self._active[tenant_id] += 1
        self._active_count += 1

    def _leave_line(self, place: Place) -> None:
        line = self._lines[place.tenant_id]
        del line[place]
        self._waiting_count -= 1
        if not line:
            del self._lines[place.tenant_id]
