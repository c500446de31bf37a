"""The concurrency limit of a worker: so many runs execute at once, and the others in the order in which they came."""

from __future__ import annotations

import asyncio

from runtime.execution.active_run import ActiveRun
from runtime.execution.runner import Runner
from runtime.execution.stray_tasks import leaving_no_tasks
from runtime.protocol.events import RunEnd


class ConcurrencyLimiter:
    """Executes runs as its runner does, ``places`` of them at once.

    How many may wait is the pool's to bound. None waits for ever: a run whose turn has not come after ``wait_seconds``
    ends as failed.
    """

    def __init__(self, runner: Runner, *, places: int, wait_seconds: float) -> None:
        self._runner = runner
        self._places = asyncio.Semaphore(places)
        self._wait_seconds = wait_seconds

    async def execute(self, run: ActiveRun) -> RunEnd:
        """How the run ended by itself. One that is cancelled, also while it waits, raises CancelledError."""
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._places.acquire()
        except TimeoutError:
            return self._waited_too_long()
        try:
            return await leaving_no_tasks(self._runner.execute(run))
        finally:
            self._places.release()

    def _waited_too_long(self) -> RunEnd:
        error = f"the run waited longer than {self._wait_seconds:g} seconds for its turn"
        return RunEnd.failed(error, reason="timeout")
