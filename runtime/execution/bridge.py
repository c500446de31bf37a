"""The bridge between greenlets and the asyncio loop of the same worker."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Literal, TypeVar

from anyio.to_thread import current_default_thread_limiter
from gevent.event import Event
from gevent.lock import BoundedSemaphore
from greenlet import getcurrent

from runtime.execution.hub_loop import HubEventLoop
from runtime.execution.running_marker import LoopGreenlet
from runtime.execution.selector_loop import GreenletSelectorEventLoop
from runtime.execution.stray_tasks import task_factory

logger = logging.getLogger(__name__)

T = TypeVar("T")

# How many synchronous calls (mostly of tools) may run at once; further calls wait. anyio's own limit of 40 is meant for
# threads, but here each call is a greenlet.
THREAD_LIMIT = 1_000
# How long, in seconds, a killed greenlet waits for its cancelled task to clean up.
CANCEL_GRACE = 1.0


class LoopBridge:
    """Runs coroutines on the worker's asyncio loop for greenlets of the same thread.

    The loop runs in its own greenlet. Coroutines and greenlets take turns in one OS thread, so they need no locks
    between them, and whatever blocks that thread stalls the whole worker. A synchronous tool that waits in Python code
    (sockets, sleep, locks) is cooperative under gevent. One that blocks in C (a database driver's own wait, a long
    regular expression, a heavy computation) stops every run and every request of the worker until it returns.

    Create it after the fork, in the thread whose greenlets will use it. ``kind`` selects the loop: "hub" runs on
    gevent's hub; "selector" is asyncio's own loop on gevent's selector, which is slower but depends less on asyncio's
    internals.
    """

    def __init__(self, kind: Literal["hub", "selector"] = "hub") -> None:
        self._loop: HubEventLoop | GreenletSelectorEventLoop = (
            HubEventLoop() if kind == "hub" else GreenletSelectorEventLoop()
        )
        self._loop.set_task_factory(task_factory)
        self._greenlet: LoopGreenlet | None = None
        self._closing = False
        self._close_lock = BoundedSemaphore(1)
        # asyncio itself keeps only weak references to tasks.
        self._tasks: set[asyncio.Task[Any]] = set()
        self._waiting: set[Event] = set()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def start(self) -> None:
        """Starts the greenlet that runs the loop, unless it is running. Raises RuntimeError if the bridge is closed."""
        if self._closing:
            raise RuntimeError("The bridge is closed")
        if self._is_running():
            return
        self._greenlet = LoopGreenlet(self._loop, self._loop.marker)
        self._greenlet.rawlink(self._release_waiting)
        self._greenlet.start()
        self._create_task(_raise_thread_limit(), "raise-thread-limit")

    def submit(self, coroutine: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Starts ``coroutine`` as a task of the loop. May be called from any greenlet of the thread.

        Raises RuntimeError when the bridge is not started or is closed, or when its loop has ended.
        """
        if self._closing or not self._is_running():
            coroutine.close()
            raise RuntimeError("The bridge's event loop is not running")
        return self._create_task(coroutine, name)

    def run(self, coroutine: Coroutine[Any, Any, T], *, name: str | None = None) -> T:
        """Runs ``coroutine`` and blocks this greenlet until it is done; see ``wait``."""
        if self._is_loop_greenlet():
            coroutine.close()
            raise _waits_for_itself()
        return self.wait(self.submit(coroutine, name=name))

    def wait(self, task: asyncio.Task[T]) -> T:
        """Blocks this greenlet until ``task`` is done, then returns its result or raises its exception.

        If this greenlet is killed or its ``gevent.Timeout`` expires, the task is cancelled and given a moment to clean
        up, and the exception is raised again.

        Raises RuntimeError when the caller is itself a coroutine of the loop, or when the loop ended before the task
        was done. Raises asyncio.CancelledError when the task was cancelled.
        """
        if self._is_loop_greenlet():
            raise _waits_for_itself()
        if not task.done():
            self._wait_until_done(task)
        return task.result()

    def close(self, timeout: float = 2.0) -> None:
        """Cancels the remaining tasks, closes the async generators, and stops and closes the loop.

        The cancelled tasks and the generators may take ``timeout`` seconds together. Whatever is still running then is
        logged and abandoned. A second call does nothing. Raises RuntimeError when the caller is itself a coroutine of
        the loop.
        """
        if self._is_loop_greenlet():
            raise _waits_for_itself()
        self._closing = True
        with self._close_lock:
            if self._loop.is_closed():
                return
            if self._greenlet is not None and not self._greenlet.dead:
                self._finish_and_stop(self._greenlet, timeout)
            elif self._greenlet is not None:
                # The loop has ended by itself (a callback raised an exit). Its tasks must still be ended properly.
                self._loop.run_until_complete(self._finish(timeout))
            self._loop.close()

    def _is_running(self) -> bool:
        return self._greenlet is not None and not self._greenlet.dead

    def _is_loop_greenlet(self) -> bool:
        return self._greenlet is not None and getcurrent() is self._greenlet

    def _create_task(self, coroutine: Coroutine[Any, Any, T], name: str | None) -> asyncio.Task[T]:
        task = self._loop.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _wait_until_done(self, task: asyncio.Task[Any]) -> None:
        released = Event()

        def release(_: asyncio.Task[Any]) -> None:
            released.set()

        self._waiting.add(released)
        task.add_done_callback(release)
        try:
            if self._is_running():
                released.wait()
        except BaseException:
            task.cancel()
            released.wait(CANCEL_GRACE)
            raise
        finally:
            self._waiting.discard(released)
            task.remove_done_callback(release)
        if not task.done():
            raise RuntimeError(f"The event loop ended before the task {task.get_name()!r} was done")

    def _release_waiting(self, _: Any) -> None:
        for released in list(self._waiting):
            released.set()

    def _finish_and_stop(self, greenlet: LoopGreenlet, timeout: float) -> None:
        finished = Event()
        task = self._create_task(self._finish(timeout), "finish")
        task.add_done_callback(lambda _: finished.set())
        self._waiting.add(finished)
        finished.wait(timeout + CANCEL_GRACE)
        self._waiting.discard(finished)
        self._loop.stop()
        greenlet.join(CANCEL_GRACE)
        if not greenlet.dead:
            logger.warning("The event loop does not stop: a coroutine blocks it. Killing its greenlet")
            greenlet.kill(timeout=CANCEL_GRACE)

    async def _finish(self, timeout: float) -> None:
        deadline = self._loop.time() + timeout
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            _, left = await asyncio.wait(left, timeout=timeout)
        for task in left:
            logger.warning("The task %r did not end within %.1f s of its cancellation", task.get_name(), timeout)
        try:
            async with asyncio.timeout_at(max(deadline, self._loop.time() + CANCEL_GRACE)):
                await self._loop.shutdown_asyncgens()
        except TimeoutError:
            logger.warning("Async generators of the loop did not close in time")


async def _raise_thread_limit() -> None:
    # anyio has one limiter per loop and returns it only inside that loop.
    current_default_thread_limiter().total_tokens = THREAD_LIMIT


def _waits_for_itself() -> RuntimeError:
    return RuntimeError("A coroutine of the loop must await, not block: the loop would wait for itself")
