"""A run while its owner executes it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from runtime.composition.composition import Composition
from runtime.events.run_log import LossReason, RunLog
from runtime.protocol.events import EventEncoder
from runtime.protocol.phases import Phase, transition
from runtime.protocol.records import RunRecord
from runtime.protocol.requests import DeferredToolResults
from runtime.runs.executor import StopReason
from runtime.runs.origins import ProvenRun, RunHooks


@dataclass(slots=True)
class ActiveRun:
    """The state of one run during its execution. Only greenlets and coroutines of one thread use it."""

    record: RunRecord
    encoder: EventEncoder
    log: RunLog
    hooks: RunHooks
    proven: ProvenRun | None = field(default=None, repr=False)
    """What the run executes; None until its hooks have returned it."""
    stop_reason: StopReason | None = None
    task: asyncio.Task[object] | None = field(default=None, repr=False)
    phase: Phase = field(init=False)

    def __post_init__(self) -> None:
        self.phase = self.record.phase

    @property
    def run_id(self) -> str:
        return self.record.run_id

    @property
    def composition(self) -> Composition:
        return self._proven.composition

    @property
    def deferred_results(self) -> DeferredToolResults | None:
        return self._proven.deferred_results

    @property
    def is_cleanup(self) -> bool:
        return self._proven.is_cleanup

    def enter(self, phase: Phase) -> None:
        """Moves the run to a phase. Raises PhaseRefused."""
        self.phase = transition(self.phase, phase)

    def stop(self, reason: StopReason) -> None:
        """Stops the run and its model call at once, unless the run is ending already. Only the first reason counts."""
        if self.stop_reason is not None or self.phase in (Phase.ENDING, Phase.ENDED):
            return
        self.stop_reason = reason
        if reason in (StopReason.ENDED_ELSEWHERE, StopReason.LEASE_LOST):
            self.log.drop()
        self.hooks.stop()
        if self.task is not None:
            self.task.get_loop().call_soon_threadsafe(self.task.cancel)

    def lose(self, reason: LossReason) -> None:
        """Stops the run because Redis refused an event."""
        self.stop(StopReason.ENDED_ELSEWHERE if reason is LossReason.FENCED else StopReason.STORAGE)

    @property
    def _proven(self) -> ProvenRun:
        if self.proven is None:
            raise RuntimeError(f"run {self.run_id}: nothing to execute yet")
        return self.proven
