"""Scenarios of the run pool, in a process that is patched."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import gevent
from gevent.event import AsyncResult

from runtime.events.store import EndOutcome
from runtime.execution.active_run import ActiveRun, StopReason
from runtime.execution.bridge import LoopBridge
from runtime.execution.pool import RunPool
from runtime.protocol.events import RunEnd


class RefusingRunLog:
    """Cannot take a success, as when an output cannot be serialised."""

    def __init__(self) -> None:
        self.ends: list[RunEnd] = []
        self.on_loss: object = None

    def end(self, end: RunEnd) -> AsyncResult[EndOutcome]:
        if end.error is None:
            raise ValueError("cannot be serialised")
        self.ends.append(end)
        done: AsyncResult[EndOutcome] = AsyncResult()
        done.set(EndOutcome.ENDED)
        return done


def a_run_whose_end_cannot_be_made_ends_as_failed() -> None:
    async def succeed(_: object) -> RunEnd:
        return RunEnd.succeeded(output="x", snapshot={}, usage=None)

    bridge = LoopBridge()
    bridge.start()
    log = SimpleNamespace(close_run=lambda run_log: None)
    runner = SimpleNamespace(execute=succeed)
    pool = RunPool(bridge=bridge, runner=cast(Any, runner), log=cast(Any, log), size=1)
    run_log = RefusingRunLog()
    record = SimpleNamespace(run_id="run-1")
    pool.start(ActiveRun(cast(Any, record), cast(Any, None), cast(Any, None), cast(Any, run_log)))

    with gevent.Timeout(10):
        while pool.active_count:
            gevent.sleep(0.01)

    assert [end.error for end in run_log.ends] == ["the run failed because of an internal error"]
    bridge.close()


class WaitingRunLog:
    """Has the end of its run on the way until ``done`` is set."""

    def __init__(self) -> None:
        self.done: AsyncResult[EndOutcome] = AsyncResult()
        self.has_end = False
        self.is_dropped = False
        self.on_loss: object = None

    def end(self, end: RunEnd) -> AsyncResult[EndOutcome]:
        self.has_end = True
        return self.done

    def drop(self) -> None:
        self.is_dropped = True


def what_stops_a_run_whose_end_is_on_its_way_leaves_its_events_alone() -> None:
    async def succeed(_: object) -> RunEnd:
        return RunEnd.succeeded(output="x", snapshot={}, usage=None)

    bridge = LoopBridge()
    bridge.start()
    log = SimpleNamespace(close_run=lambda run_log: None)
    runner = SimpleNamespace(execute=succeed)
    pool = RunPool(bridge=bridge, runner=cast(Any, runner), log=cast(Any, log), size=1)
    run_log = WaitingRunLog()
    record = SimpleNamespace(run_id="run-1")
    pool.start(ActiveRun(cast(Any, record), cast(Any, None), cast(Any, None), cast(Any, run_log)))

    with gevent.Timeout(10):
        while not run_log.has_end:
            gevent.sleep(0.01)
        for reason in StopReason:
            assert pool.stop("run-1", reason)
        assert not run_log.is_dropped
        run_log.done.set(EndOutcome.ENDED)
        while pool.active_count:
            gevent.sleep(0.01)

    assert not run_log.is_dropped
    bridge.close()
