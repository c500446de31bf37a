"""Keeps asyncio's notion of "the running loop" inside the greenlet that runs the loop.

asyncio stores the running loop, and Python the hooks for async generators, once per OS thread. All greenlets of a
worker share that thread, so every other greenlet would see what the loop's greenlet leaves behind when it switches
away: ``asyncio.run()`` in a synchronous tool would refuse to start, and its async generators would be registered with
our loop.
"""

import asyncio
import sys
from asyncio import events
from typing import Any

import gevent


class RunningMarker:
    """The running-loop marker and the async generator hooks of one loop, which are set and removed together.

    The values set before are restored, because another greenlet may be parked in its own loop.
    """

    def __init__(self, loop: asyncio.BaseEventLoop) -> None:
        self._loop = loop
        self._firstiter = loop._asyncgen_firstiter_hook  # type: ignore[attr-defined]
        self._finalizer = loop._asyncgen_finalizer_hook  # type: ignore[attr-defined]
        self._outer_loop: asyncio.AbstractEventLoop | None = None
        self._outer_hooks: tuple[Any, Any] = (None, None)

    def is_up(self) -> bool:
        return events._get_running_loop() is self._loop

    def put_up(self) -> None:
        self._outer_loop = events._get_running_loop()
        self._outer_hooks = sys.get_asyncgen_hooks()
        events._set_running_loop(self._loop)
        sys.set_asyncgen_hooks(self._firstiter, self._finalizer)

    def take_down(self) -> None:
        events._set_running_loop(self._outer_loop)
        sys.set_asyncgen_hooks(*self._outer_hooks)


class LoopGreenlet(gevent.Greenlet):  # type: ignore[type-arg]  # subscripted in the stubs only
    """A greenlet to run a loop in: the marker is removed whenever it switches away and set again when it comes back.

    This covers every way of switching, including those that a loop cannot see: a callback that waits for a contended
    lock, or a coroutine that calls something blocking which gevent made cooperative.
    """

    def __init__(self, loop: asyncio.BaseEventLoop, marker: RunningMarker) -> None:
        super().__init__(loop.run_forever)
        self._marker = marker
        self._marker_held = False

    def switch_out(self) -> None:
        """Called by gevent's hub just before this greenlet waits."""
        if self._marker.is_up():
            self._marker.take_down()
            self._marker_held = True

    def switch(self, *args: Any) -> Any:
        self._come_back()
        return super().switch(*args)

    def throw(self, *args: Any) -> Any:
        self._come_back()
        return super().throw(*args)

    def _come_back(self) -> None:
        if self._marker_held:
            self._marker_held = False
            self._marker.put_up()
