"""The file descriptors that the hub watches for an asyncio loop, and the callbacks of their readiness."""

import asyncio
from asyncio import events
from collections.abc import Callable
from typing import Any

# libev's event bits.
READ, WRITE = 1, 2


class DescriptorWatches:
    """The watchers of one asyncio loop: one per descriptor number and direction, kept for the number's next use."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, hub_loop: Any, queue_ready: Callable[[asyncio.Handle], None]
    ) -> None:
        self._loop = loop
        self._hub_loop = hub_loop
        self._queue_ready = queue_ready
        self._watches: dict[tuple[int, int], _Watch] = {}

    def start(
        self, fd: Any, direction: int, callback: Callable[..., object], args: tuple[Any, ...]
    ) -> "DescriptorHandle":
        """Has ``callback`` queued whenever ``fd`` is ready. It replaces the callback set before."""
        number = _number_of(fd)
        watch = self._watches.get((number, direction))
        if watch is None:
            watch = self._watches[number, direction] = _Watch(self._hub_loop.io(number, direction))
        else:
            watch.stop()
        handle = watch.handle = DescriptorHandle(callback, args, self._loop)
        # The number may now belong to another socket. Only setting it makes libev register it again with the kernel.
        # A mere restart, in the turn of the hub in which the old socket was closed, would wait for ever.
        watch.watcher.fd = number
        watch.watcher.start(self._on_readiness, handle)
        return handle

    def stop(self, fd: Any, direction: int) -> bool:
        """Stops watching. Returns False if nothing was watched."""
        watch = self._watches.get((_number_of(fd), direction))
        return watch is not None and watch.stop()

    def close(self) -> None:
        for watch in self._watches.values():
            watch.watcher.close()
        self._watches.clear()

    def _on_readiness(self, handle: "DescriptorHandle") -> None:
        """Queues the callback once. Runs in the hub on each of its turns while the descriptor is ready."""
        if not handle.queued and not handle.cancelled():
            handle.queued = True
            self._queue_ready(handle)


class DescriptorHandle(events.Handle):
    """The callback of a descriptor. It is queued at most once at a time, however often the hub reports readiness."""

    __slots__ = ("queued",)

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(callback, args, loop, None)
        self.queued = False

    def _run(self) -> None:
        self.queued = False
        super()._run()


class _Watch:
    """A watcher that is reused, and the handle of its present use."""

    __slots__ = ("handle", "watcher")

    def __init__(self, watcher: Any) -> None:
        self.watcher = watcher
        self.handle: DescriptorHandle | None = None

    def stop(self) -> bool:
        if self.handle is None:
            return False
        # The watcher is not closed, because a reader that pauses after every chunk stops it once per chunk.
        self.watcher.stop()
        self.handle.cancel()
        self.handle = None
        return True


def _number_of(fd: Any) -> int:
    return fd if isinstance(fd, int) else int(fd.fileno())
