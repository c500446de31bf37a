"""The alternative way to run asyncio beside greenlets: asyncio's own selector loop, on gevent's selector.

It depends far less on asyncio's internals than the hub loop but costs more: up to two and a half times the CPU time
around short callbacks, little where HTTP dominates. It is the fallback in case a new Python version breaks the hub
loop.

It must run in a ``LoopGreenlet``, which hides it while it is parked.
"""

import asyncio
import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVarTuple, Unpack

from gevent.selectors import GeventSelector

from runtime.execution.greenlet_calls import call_in_greenlet
from runtime.execution.running_marker import RunningMarker

Ts = TypeVarTuple("Ts")


class GreenletSelectorEventLoop(asyncio.SelectorEventLoop):
    """asyncio's selector loop, which other greenlets of its thread can wake.

    It needs ``monkey.patch_all()``: "the current thread" must mean the current greenlet.
    """

    _thread_id: int | None
    _check_closed: Callable[[], None]
    _write_to_self: Callable[[], None]

    def __init__(self) -> None:
        super().__init__(GeventSelector())
        self.marker = RunningMarker(self)

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = super().call_soon(callback, *args, context=context)
        self._wake_for_others()
        return handle

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = super().call_at(when, callback, *args, context=context)
        self._wake_for_others()
        return handle

    def stop(self) -> None:
        super().stop()
        self._wake_for_others()

    def run_in_executor(self, executor: Any, func: Callable[[Unpack[Ts]], Any], *args: *Ts) -> asyncio.Future[Any]:
        """Calls ``func`` in its own greenlet if ``executor`` is None."""
        self._check_closed()
        if executor is not None:
            return super().run_in_executor(executor, func, *args)
        return call_in_greenlet(self, func, *args)

    def _check_thread(self) -> None:
        # To asyncio, other greenlets are other threads, but here they are allowed to call.
        pass

    def _wake_for_others(self) -> None:
        # asyncio wakes its selector only when asked to. Without this it would sleep through a greenlet's callback.
        if self._thread_id is not None and self._thread_id != threading.get_ident():
            self._write_to_self()
