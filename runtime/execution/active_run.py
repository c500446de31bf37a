"""A run while its owner executes it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum

from runtime.composition.composition import Composition
from runtime.events.run_log import LossReason, RunLog
from runtime.execution.hooks import RunHooks
from runtime.protocol.events import EventEncoder
from runtime.protocol.records import RunRecord
from runtime.protocol.requests import DeferredToolResults


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


@dataclass(slots=True)
class ActiveRun:
    """What one run needs while it is executed. Only greenlets and coroutines of one thread touch it."""

    record: RunRecord
    composition: Composition
    encoder: EventEncoder
    log: RunLog
    deferred_results: DeferredToolResults | None = field(default=None, repr=False)
    """What the request answers to the tool call that ended the run before."""
    hooks: RunHooks | None = None
    is_cleanup: bool = False
    """Whether it only leaves the layers of a session for good, and calls no model."""
    has_begun: bool = True
    """Whether its first event is stored: not while it waits for another run to end."""
    is_ending: bool = False
    """Whether its end is on its way behind its events: from then on only Redis says whether that end counts."""
    stop_reason: StopReason | None = None
    task: asyncio.Task[object] | None = field(default=None, repr=False)

    @property
    def run_id(self) -> str:
        return self.record.run_id

    def stop(self, reason: StopReason) -> None:
        """Stop the run, unless it ends by itself; the first reason counts. Its model call is closed at once."""
        if self.stop_reason is not None or self.is_ending:
            return
        self.stop_reason = reason
        if reason in (StopReason.ENDED_ELSEWHERE, StopReason.LEASE_LOST):
            self.log.drop()
        if self.hooks is not None:
            self.hooks.stop()
        if self.task is not None:
            self.task.get_loop().call_soon_threadsafe(self.task.cancel)

    def lose(self, reason: LossReason) -> None:
        """Stop because Redis refused an event."""
        self.stop(StopReason.ENDED_ELSEWHERE if reason is LossReason.FENCED else StopReason.STORAGE)
