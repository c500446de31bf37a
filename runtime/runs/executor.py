"""The port of what executes runs. ``LocalExecutor`` is the one in this process."""

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
    """Why a run was stopped from outside."""

    ENDED_ELSEWHERE = "ended_elsewhere"
    """A cancel or a reaper has ended it: its record and terminal event are written."""
    LEASE_LOST = "lease_lost"
    """Its lease is gone: something has ended it, or Redis has lost its data."""
    STORAGE = "storage"
    """Redis no longer takes its events."""
    SHUTDOWN = "shutdown"
    """The worker stops."""


@dataclass(eq=False, slots=True)
class Place:
    """What an executor holds for one run: a place to execute in or, until it is given one, to wait in."""

    tenant_id: str | None
    is_active: bool
    """Whether the run may execute."""
    on_turn: Callable[[], None] = lambda: None
    """Called when it may, if it had to wait."""


class Executor(Protocol):
    """Owns the runs that are given to it, each until its end is written."""

    @property
    def active(self) -> list[str]:
        """The ids of the runs that it owns."""

    def record_of(self, run_id: str) -> RunRecord | None:
        """The record that a run it owns began with; None when it owns no such run."""

    def admit(self, tenant_id: str | None, *, was_accepted: bool = False) -> AbstractContextManager[Place]:
        """Hold a place while a run of a tenant is being stored and started in it.

        Raises ShuttingDown, CapacityReached and TenantLimitReached. A run that ``was_accepted`` before is refused only
        when all runs are being stopped.
        """

    def start(self, job: Job, record: RunRecord, place: Place, proven: ProvenRun | None = None) -> None:
        """Execute an admitted job whose record is stored, once its place is one to execute in.

        ``proven`` is what this process has made of the job just now; without it the hooks of its origin make it.
        """

    def stop(self, run_id: str, reason: StopReason) -> bool:
        """Stop a run; False when it does not own it."""

    def drain(self, timeout: float) -> bool:
        """Stop all runs; False when ``timeout`` seconds were not enough for their ends."""
