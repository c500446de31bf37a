"""The interface of whatever executes runs. ``LocalExecutor`` executes them in this process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from runtime.protocol.jobs import Job
from runtime.protocol.records import RunRecord
from runtime.runs.origins import ProvenRun


class StopReason(StrEnum):
    """Why something other than the run itself stopped it."""

    ENDED_ELSEWHERE = "ended_elsewhere"
    """A cancel or the reaper has ended it: its record and terminal event are already written."""
    LEASE_LOST = "lease_lost"
    """Its lease is gone: either something has ended the run, or Redis has lost its data."""
    STORAGE = "storage"
    """Redis no longer accepts its events."""
    SHUTDOWN = "shutdown"
    """The worker is stopping."""


@dataclass(eq=False, slots=True)
class Place:
    """What an executor reserves for one run: a place to execute in or, until it is given one, to wait in."""

    tenant_id: str | None
    is_active: bool
    """Whether the run may execute."""
    on_turn: Callable[[], None] = lambda: None
    """Called when it may, if it had to wait."""


class Executor(Protocol):
    """Owns each run that is given to it until the run's end is written."""

    @property
    def active(self) -> list[str]:
        """The ids of the runs that this executor owns."""

    def record_of(self, run_id: str) -> RunRecord | None:
        """Returns the record that a run of this executor began with; None for a run that it does not own."""

    def admit(self, tenant_id: str | None, *, was_accepted: bool = False) -> AbstractContextManager[Place]:
        """Reserves a place while a run of a tenant is being stored and started in it.

        Raises ShuttingDown, CapacityReached and TenantLimitReached. A run that ``was_accepted`` before is refused only
        when all runs are being stopped.
        """

    def start(self, job: Job, record: RunRecord, place: Place, proven: ProvenRun | None = None) -> None:
        """Executes an admitted job whose record is stored, once its place is one to execute in.

        ``proven`` is what this process has just made from the job; without it the hooks of the job's origin make it.
        """

    def stop(self, run_id: str, reason: StopReason) -> bool:
        """Stops a run. Returns False when this executor does not own it."""

    def drain(self, timeout: float) -> bool:
        """Stops all runs. Returns False when not all of them ended within ``timeout`` seconds."""
