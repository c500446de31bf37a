"""An asyncio event loop that runs on gevent's hub, in the hub's own OS thread.

The hub polls; the loop only runs callbacks. It lives in one greenlet. Without work, it is parked in the hub until a
callback, a timer or a descriptor needs it. With work, it runs for one slice and then gives the hub a turn.

It replaces asyncio's ``_run_once`` and its selector, and for that it reads the private fields ``_ready`` and
``_scheduled``.
"""

import asyncio
import collections
import heapq
import selectors
import time
from asyncio import events
from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVarTuple, Unpack

from gevent import monkey
from gevent.hub import get_hub
from greenlet import getcurrent

from runtime.execution.descriptors import READ, WRITE, DescriptorWatches
from runtime.execution.greenlet_calls import call_in_greenlet
from runtime.execution.running_marker import RunningMarker

Ts = TypeVarTuple("Ts")

# Longest burst of asyncio work, in seconds, before the hub polls and other greenlets run.
SLICE = 0.0005
# A timer that is due in more than this many seconds is armed in steps.
LONGEST_WAIT = 24 * 3600.0
# Up to this many scheduled timers, cancelled ones are kept until they are due.
FEW_TIMERS = 100

# After gevent's patch, threading.get_ident() identifies the greenlet; this one identifies the OS thread.
_native_thread = monkey.get_original("_thread", "get_ident")
_clock = time.monotonic


class HubEventLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop for coroutines that share their thread with greenlets.

    Everything but ``call_soon_threadsafe`` must be called from the thread that created the loop, by any of its
    greenlets. ``run_in_executor(None, ...)`` starts a greenlet, so blocking calls must be ones that gevent makes
    cooperative: a function that blocks in C stalls the whole thread. Signal handlers and subprocesses are not
    supported. The debug mode does not report slow callbacks.
    """

    _ready: collections.deque[asyncio.Handle]
    _scheduled: list[Any]  # of asyncio.TimerHandle, whose fields are private too
    _timer_cancelled_count: int
    _stopping: bool
    _closed: bool
    _debug: bool
    _thread_id: int | None
    _default_executor: Any
    _check_closed: Callable[[], None]
    _check_default_executor: Callable[[], None]

    def __init__(self) -> None:
        self._hub = get_hub()
        self._native_thread = _native_thread()
        self._greenlet: Any = None
        self._parked = False
        self._wake_requested = False
        self._slice_end = 0.0
        self._timer: Any = None
        self._timer_when = 0.0
        self._watches = DescriptorWatches(self, self._hub.loop, self._queue_ready)
        super().__init__(_NoSelector())
        self.marker = RunningMarker(self)

    # Running

    def run_forever(self) -> None:
        """Runs until ``stop()`` is called. Raises RuntimeError when the loop is closed or already running.

        A KeyboardInterrupt or SystemExit of a callback is passed on. What was queued behind that callback stays queued.
        """
        self._check_closed()
        self._check_running()
        # Without this, the hub would report a deadlock while the loop is parked: a parked greenlet alone does not make
        # it poll.
        keep_alive = self._hub.loop.async_()
        keep_alive.start(lambda: None)
        self._greenlet = getcurrent()
        self._thread_id = self._native_thread
        self._slice_end = _clock() + SLICE
        try:
            while True:
                self._run_once()
                if self._stopping:
                    break
        finally:
            self._stopping = False
            self._thread_id = None
            self._greenlet = None
            keep_alive.close()

    def stop(self) -> None:
        super().stop()
        self._wake()

    def close(self) -> None:
        super().close()
        self._watches.close()
        self._disarm()

    def _run_once(self) -> None:
        self._drop_cancelled_timers()
        if not self._ready and not self._stopping:
            self._park()
        self._queue_due_timers()
        self._run_ready()
        if self._ready and not self._stopping and _clock() > self._slice_end:
            self._give_hub_a_turn()

    def _run_ready(self) -> None:
        ready, slice_end = self._ready, self._slice_end
        self.marker.put_up()
        try:
            while ready:
                # As in asyncio, what a batch queues belongs to the next batch: stop() ends with the current one.
                for _ in range(len(ready)):
                    handle = ready.popleft()
                    if not handle._cancelled:
                        handle._run()
                        if _clock() > slice_end:
                            return
                if self._stopping:
                    return
        finally:
            self.marker.take_down()

    # Waiting

    def _park(self) -> None:
        """Waits in the hub until there may be something to do."""
        if self._scheduled and not self._arm(self._scheduled[0]._when):
            if _clock() > self._slice_end:
                self._give_hub_a_turn()
            return
        self._parked = True
        try:
            self._hub.switch()
        finally:
            self._parked = False
        self._slice_end = _clock() + SLICE

    def _give_hub_a_turn(self) -> None:
        """Lets the hub poll and run other greenlets once.

        It uses a timer of zero seconds, because the hub runs its queued callbacks repeatedly before it polls. The timer
        counts from now, not from when this turn began, so that timers that are already due fire first.
        """
        self._hub.loop.update_now()
        timer = self._hub.loop.timer(0)
        timer.start(self._greenlet.switch)
        try:
            self._hub.switch()
        finally:
            timer.close()
        self._slice_end = _clock() + SLICE

    def _wake(self) -> None:
        if self._parked and not self._wake_requested:
            self._wake_requested = True
            self._hub.loop.run_callback(self._resume)

    def _resume(self) -> None:
        """Resumes the parked loop. Runs in the hub."""
        self._wake_requested = False
        if self._parked:
            self._parked = False
            self._greenlet.switch()

    def _write_to_self(self) -> None:
        if _native_thread() == self._native_thread:
            self._wake()
        else:
            self._hub.loop.run_callback_threadsafe(self._resume)

    # Callbacks and timers

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        if self._debug or self._closed:
            handle = super().call_soon(callback, *args, context=context)
        else:
            handle = events.Handle(callback, args, self, context)
            self._ready.append(handle)
        if self._parked:
            self._wake()
        return handle

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = super().call_at(when, callback, *args, context=context)
        if self._parked and self._scheduled[0] is handle:
            self._wake()
        return handle

    def _drop_cancelled_timers(self) -> None:
        scheduled = self._scheduled
        if len(scheduled) > FEW_TIMERS and self._timer_cancelled_count * 2 > len(scheduled):
            for handle in scheduled:
                if handle._cancelled:
                    handle._scheduled = False
            scheduled[:] = [handle for handle in scheduled if not handle._cancelled]
            heapq.heapify(scheduled)
            self._timer_cancelled_count = 0
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False
            self._timer_cancelled_count -= 1

    def _queue_due_timers(self) -> None:
        scheduled = self._scheduled
        if scheduled:
            now = _clock()
            while scheduled and scheduled[0]._when <= now:
                handle = heapq.heappop(scheduled)
                handle._scheduled = False
                self._ready.append(handle)

    def _arm(self, when: float) -> bool:
        """Has the hub resume the loop at ``when`` or earlier. Returns False if ``when`` is already past.

        The loop's one timer stays armed over many waits and is replaced only for an earlier deadline: most deadlines
        are timeouts that never fire.
        """
        delay = when - _clock()
        if delay <= 0:
            return False
        if self._timer is None or not self._timer.active or when < self._timer_when:
            self._disarm()
            self._hub.loop.update_now()
            self._timer = self._hub.loop.timer(min(delay, LONGEST_WAIT))
            self._timer.start(self._resume)
            self._timer_when = when
        return True

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.close()
            self._timer = None

    # Descriptors

    def _add_reader(self, fd: Any, callback: Callable[..., object], *args: Any) -> asyncio.Handle:
        self._check_closed()
        return self._watches.start(fd, READ, callback, args)

    def _add_writer(self, fd: Any, callback: Callable[..., object], *args: Any) -> asyncio.Handle:
        self._check_closed()
        return self._watches.start(fd, WRITE, callback, args)

    def _remove_reader(self, fd: Any) -> bool:
        return self._watches.stop(fd, READ)

    def _remove_writer(self, fd: Any) -> bool:
        return self._watches.stop(fd, WRITE)

    def _queue_ready(self, handle: asyncio.Handle) -> None:
        """Queues the callback of a ready descriptor. Runs in the hub."""
        self._ready.append(handle)
        self._wake()

    # Replacements for asyncio's use of threads

    def run_in_executor(self, executor: Any, func: Callable[[Unpack[Ts]], Any], *args: *Ts) -> asyncio.Future[Any]:
        """Calls ``func`` in its own greenlet if ``executor`` is None and no default executor was set."""
        self._check_closed()
        if executor is not None or self._default_executor is not None:
            return super().run_in_executor(executor, func, *args)
        self._check_default_executor()
        return call_in_greenlet(self, func, *args)

    def _check_running(self) -> None:
        # Unlike asyncio's own check, this allows another loop to be parked in a greenlet of this thread.
        if self.is_running():
            raise RuntimeError("This event loop is already running")

    def _check_thread(self) -> None:
        if _native_thread() != self._native_thread:
            raise RuntimeError("Non-thread-safe operation invoked on an event loop of another thread")

    # What the hub makes unnecessary, and what is not supported

    def _make_self_pipe(self) -> None:
        pass

    def _close_self_pipe(self) -> None:
        pass

    def add_signal_handler(self, sig: int, callback: Callable[[Unpack[Ts]], Any], *args: *Ts) -> None:
        raise NotImplementedError("The hub owns the signals: use gevent.signal_handler()")

    async def _make_subprocess_transport(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("Subprocesses are not supported on this loop: use gevent.subprocess")


class _NoSelector(selectors._BaseSelectorImpl):
    """A placeholder for the selector that asyncio expects; the hub does the selecting."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return []
