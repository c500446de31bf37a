"""The port of what executes runs. ``LocalExecutor`` is the one in this process."""

from __future__ import annotations

from contextlib import AbstractContextManager
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


class Executor(Protocol):
    """Owns the runs that are given to it, each until its end is written."""

    @property
    def active(self) -> list[str]:
        """The ids of the runs that it owns."""

    def record_of(self, run_id: str) -> RunRecord | None:
        """The record that a run it owns began with; None when it owns no such run."""

    def admit(self, *, was_accepted: bool = False) -> AbstractContextManager[None]:
        """Hold a place while a run is being stored and started. Raises ShuttingDown or CapacityReached.

        A run that ``was_accepted`` before is refused only when all runs are being stopped.
        """

    def start(self, job: Job, record: RunRecord, proven: ProvenRun | None = None) -> None:
        """Execute an admitted job whose record is stored.

        ``proven`` is what this process has made of the job just now; without it the hooks of its origin make it.
        """

    def stop(self, run_id: str, reason: StopReason) -> bool:
        """Stop a run; False when it does not own it."""

    def drain(self, timeout: float) -> bool:
        """Stop all runs; False when ``timeout`` seconds were not enough for their ends."""
