"""What the bridge promises to greenlets. Run in a patched child: see test_bridge."""

import asyncio
import inspect
import logging
import time
from collections.abc import AsyncIterator
from typing import Literal, cast

import gevent
import pytest
from anyio.to_thread import current_default_thread_limiter
from gevent.event import Event

from runtime.execution.bridge import THREAD_LIMIT, LoopBridge
from tests.support.patched import eventually


def _started(kind: str) -> LoopBridge:
    bridge = LoopBridge(cast(Literal["hub", "selector"], kind))
    bridge.start()
    return bridge


async def _value() -> int:
    await asyncio.sleep(0.001)
    return 5


async def _failure() -> None:
    await asyncio.sleep(0.001)
    raise KeyError("from the coroutine")


def run_returns_what_the_coroutine_returns(kind: str) -> None:
    bridge = _started(kind)

    assert bridge.run(_value()) == 5

    bridge.close()


def run_raises_what_the_coroutine_raises(kind: str) -> None:
    bridge = _started(kind)

    with pytest.raises(KeyError, match="from the coroutine"):
        bridge.run(_failure())

    bridge.close()


def run_raises_when_the_task_was_cancelled_by_someone_else(kind: str) -> None:
    bridge = _started(kind)
    task = bridge.submit(asyncio.sleep(60))
    gevent.spawn_later(0.01, task.cancel)

    with pytest.raises(asyncio.CancelledError):
        bridge.wait(task)

    bridge.close()


def a_submitted_task_has_its_name_and_can_be_waited_for_by_many(kind: str) -> None:
    bridge = _started(kind)

    task = bridge.submit(_value(), name="run-1")
    waiting = [gevent.spawn(bridge.wait, task) for _ in range(5)]

    assert task.get_name() == "run-1"
    assert [greenlet.get(timeout=10) for greenlet in waiting] == [5] * 5
    assert bridge.wait(task) == 5
    bridge.close()


def starting_twice_starts_one_loop(kind: str) -> None:
    bridge = _started(kind)
    loop = bridge.loop

    bridge.start()

    assert bridge.loop is loop
    assert bridge.run(_value()) == 5
    bridge.close()


def a_killed_greenlet_cancels_its_task_and_lets_it_clean_up(kind: str) -> None:
    bridge = _started(kind)
    steps: list[str] = []

    async def work() -> None:
        try:
            steps.append("started")
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            steps.append("cleaned")

    waiting = gevent.spawn(bridge.run, work())
    eventually(lambda: steps)
    waiting.kill(timeout=10)

    assert steps == ["started", "cleaned"]
    assert isinstance(waiting.value, gevent.GreenletExit)
    bridge.close()


def an_expired_timeout_cancels_the_task_and_goes_on(kind: str) -> None:
    bridge = _started(kind)
    cancelled = Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    with pytest.raises(gevent.Timeout), gevent.Timeout(0.05):
        bridge.run(work())

    assert cancelled.is_set()
    bridge.close()


def a_task_that_ignores_its_cancellation_holds_a_killed_greenlet_briefly(kind: str) -> None:
    bridge = _started(kind)
    started, release = Event(), bridge.loop.create_future()

    async def work() -> None:
        started.set()
        while not release.done():
            try:
                await asyncio.shield(release)
            except asyncio.CancelledError:
                continue

    waiting = gevent.spawn(bridge.run, work())
    assert started.wait(10)
    waiting.kill(timeout=20)

    assert waiting.ready()
    release.set_result(None)
    bridge.close()


def a_coroutine_must_not_block_on_its_own_loop(kind: str) -> None:
    bridge = _started(kind)
    task = bridge.submit(_value())

    async def wrong() -> None:
        with pytest.raises(RuntimeError, match="await"):
            bridge.run(_value())
        with pytest.raises(RuntimeError, match="await"):
            bridge.wait(task)
        with pytest.raises(RuntimeError, match="await"):
            bridge.close()

    bridge.run(wrong())
    bridge.close()


def a_bridge_that_is_not_running_refuses_and_closes_the_coroutine(kind: str) -> None:
    bridge = LoopBridge(cast(Literal["hub", "selector"], kind))
    early, late = _value(), _value()

    with pytest.raises(RuntimeError, match="not running"):
        bridge.submit(early)
    bridge.start()
    bridge.close()
    with pytest.raises(RuntimeError, match="not running"):
        bridge.run(late)
    with pytest.raises(RuntimeError, match="closed"):
        bridge.start()

    assert inspect.getcoroutinestate(early) == inspect.CORO_CLOSED
    assert inspect.getcoroutinestate(late) == inspect.CORO_CLOSED


def a_bridge_that_never_started_can_be_closed(kind: str) -> None:
    bridge = LoopBridge(cast(Literal["hub", "selector"], kind))

    bridge.close()
    bridge.close()

    assert bridge.loop.is_closed()


def closing_cancels_what_is_left_and_ends_its_waiters(kind: str) -> None:
    bridge = _started(kind)
    steps: list[str] = []

    async def work() -> None:
        try:
            steps.append("started")
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            steps.append("cleaned")

    def wait() -> str:
        try:
            bridge.run(work())
        except asyncio.CancelledError:
            return "cancelled"
        return "finished"

    waiting = gevent.spawn(wait)
    eventually(lambda: steps)
    bridge.close()
    bridge.close()

    assert steps == ["started", "cleaned"]
    assert waiting.get(timeout=10) == "cancelled"
    assert bridge.loop.is_closed()


def closing_from_two_greenlets_closes_once(kind: str) -> None:
    bridge = _started(kind)
    bridge.submit(asyncio.sleep(60))

    gevent.joinall([gevent.spawn(bridge.close) for _ in range(3)], timeout=20, raise_error=True)

    assert bridge.loop.is_closed()


def closing_closes_async_generators(kind: str) -> None:
    bridge = _started(kind)
    closed: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            closed.append("closed")

    generator = numbers()

    async def first() -> int:
        return await anext(generator)

    assert bridge.run(first()) == 1
    bridge.close()

    assert closed == ["closed"]


def closing_does_not_wait_for_ever_for_a_task_that_ignores_its_cancellation(kind: str) -> None:
    bridge = _started(kind)
    started = Event()
    messages: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    async def stubborn() -> None:
        started.set()
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue

    logging.getLogger("runtime.execution.bridge").addHandler(Collect())
    task = bridge.submit(stubborn(), name="stubborn")
    waiting = gevent.spawn(bridge.wait, task)
    assert started.wait(10)
    with gevent.Timeout(30):
        bridge.close(timeout=0.1)

    assert bridge.loop.is_closed()
    assert any("stubborn" in message for message in messages)
    waiting.join(timeout=10)
    assert isinstance(waiting.exception, RuntimeError)


def closing_ends_a_coroutine_that_blocks_the_loop(kind: str) -> None:
    bridge = _started(kind)
    started = Event()

    async def blocks() -> None:
        started.set()
        time.sleep(3600)  # that is the mistake

    bridge.submit(blocks())
    assert started.wait(10)
    with gevent.Timeout(30):
        bridge.close(timeout=0.1)

    assert bridge.loop.is_closed()


def an_exit_raised_by_a_task_reaches_the_main_greenlet_and_frees_the_waiters(kind: str) -> None:
    bridge = _started(kind)
    steps: list[str] = []

    async def other() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            steps.append("cleaned")

    async def leave() -> None:
        await asyncio.sleep(0.01)
        raise SystemExit(3)

    waiting = gevent.spawn(bridge.run, other())
    bridge.submit(leave())
    with pytest.raises(SystemExit) as caught:
        waiting.join(timeout=30)
    assert caught.value.code == 3

    waiting.join(timeout=10)
    assert isinstance(waiting.exception, RuntimeError)
    with pytest.raises(RuntimeError, match="not running"):
        bridge.submit(_value())
    bridge.close()
    assert steps == ["cleaned"]


def the_limit_of_synchronous_calls_is_raised_before_the_first_task(kind: str) -> None:
    bridge = _started(kind)

    async def limit() -> float:
        return current_default_thread_limiter().total_tokens

    assert bridge.run(limit()) == THREAD_LIMIT
    bridge.close()
