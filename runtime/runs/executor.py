"""The interface of whatever executes runs. ``LocalExecutor`` executes them in this process."""

from __future__ import annotations

from contextlib import AbstractContextManager
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


class Executor(Protocol):
    """Owns each run that is given to it until the run's end is written."""

    @property
    def active(self) -> list[str]:
        """The ids of the runs that this executor owns."""

    def record_of(self, run_id: str) -> RunRecord | None:
        """Returns the record that a run of this executor began with; None for a run that it does not own."""

    def admit(self, *, was_accepted: bool = False) -> AbstractContextManager[None]:
        """Reserves a place while a run is being stored and started. Raises ShuttingDown or CapacityReached.

        A run that ``was_accepted`` before is refused only when all runs are being stopped.
        """

    def start(self, job: Job, record: RunRecord, proven: ProvenRun | None = None) -> None:
        """Executes an admitted job whose record is stored.

        ``proven`` is what this process has just made from the job; without it the hooks of the job's origin make it.
        """

    def stop(self, run_id: str, reason: StopReason) -> bool:
        """Stops a run. Returns False when this executor does not own it."""

    def drain(self, timeout: float) -> bool:
        """Stops all runs. Returns False when not all of them ended within ``timeout`` seconds."""
