"""Scenarios of the executor of a worker, in a process that is patched."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import gevent
from gevent.event import AsyncResult

from runtime.events.store import EndOutcome
from runtime.execution.bridge import LoopBridge
from runtime.execution.fair_limiter import Bounds, FairLimiter
from runtime.execution.local_executor import LocalExecutor
from runtime.protocol.dialects import Dialect
from runtime.protocol.events import RunEnd
from runtime.protocol.jobs import RUN, Job, Origin
from runtime.protocol.records import RunRecord
from runtime.runs.executor import StopReason
from runtime.runs.origins import Origins, ProvenRun, RunHooks

JOB = Job(run_id="run-1", origin=Origin(kind=RUN, id="run-1"), dialect=Dialect.CURRENT)
RECORD = RunRecord.begin("run-1", dialect=Dialect.CURRENT, worker="worker")
PROVEN = ProvenRun(cast(Any, None), Dialect.CURRENT, [])


class Plain(RunHooks):
    def begin(self, proven: ProvenRun | None) -> ProvenRun | None:
        return proven


async def _succeed(_: object) -> RunEnd:
    return RunEnd.succeeded(output="x", snapshot={}, usage=None)


def _executor_with(bridge: LoopBridge, run_log: object) -> LocalExecutor:
    origins = Origins()
    origins.register(RUN, lambda job: Plain())
    log = SimpleNamespace(open_run=lambda record: run_log, close_run=lambda run_log: None)
    return LocalExecutor(
        bridge=bridge,
        runner=cast(Any, SimpleNamespace(execute=_succeed)),
        limiter=FairLimiter(Bounds(active=1, waiting=0)),
        log=cast(Any, log),
        origins=origins,
        wait_seconds=10,
    )


def _start(executor: LocalExecutor) -> None:
    with executor.admit(None) as place:
        executor.start(JOB, RECORD, place, PROVEN)


class RefusingRunLog:
    """A run log that cannot accept a success, as when an output cannot be serialised."""

    def __init__(self) -> None:
        self.ends: list[RunEnd] = []
        self.is_dropped = False
        self.on_loss: object = None

    def end(self, end: RunEnd) -> AsyncResult[EndOutcome]:
        if end.error is None:
            raise ValueError("cannot be serialised")
        self.ends.append(end)
        done: AsyncResult[EndOutcome] = AsyncResult()
        done.set(EndOutcome.ENDED)
        return done


def a_run_whose_end_cannot_be_made_ends_as_failed() -> None:
    bridge = LoopBridge()
    bridge.start()
    run_log = RefusingRunLog()
    executor = _executor_with(bridge, run_log)
    _start(executor)

    with gevent.Timeout(10):
        while executor.active:
            gevent.sleep(0.01)

    assert [end.error for end in run_log.ends] == ["the run failed because of an internal error"]
    bridge.close()


class WaitingRunLog:
    """A run log whose end stays under way until ``done`` is set."""

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


def stopping_a_run_whose_end_is_on_its_way_leaves_its_events_alone() -> None:
    bridge = LoopBridge()
    bridge.start()
    run_log = WaitingRunLog()
    executor = _executor_with(bridge, run_log)
    _start(executor)

    with gevent.Timeout(10):
        while not run_log.has_end:
            gevent.sleep(0.01)
        for reason in StopReason:
            assert executor.stop("run-1", reason)
        assert not run_log.is_dropped
        run_log.done.set(EndOutcome.ENDED)
        while executor.active:
            gevent.sleep(0.01)

    assert not run_log.is_dropped
    bridge.close()
