"""Counts Ctrl-C and termination signals: the first asks to stop, the next ones to hurry."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from dev.errors import StopRequested

POLL_SECONDS = 0.1


class StopSignals:
    """Counts SIGINT, SIGTERM and SIGHUP. No handler raises an exception, unless ``interrupting`` is entered."""

    def __init__(self) -> None:
        self.count = 0
        self._interrupts = False

    def install(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._received)

    def check(self) -> None:
        """Raises StopRequested when a signal has come."""
        if self.count:
            raise StopRequested

    def pause(self) -> None:
        """Waits for one turn of a waiting loop, then calls ``check``."""
        self.check()
        time.sleep(POLL_SECONDS)
        self.check()

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Makes a signal interrupt blocking calls in the block with StopRequested."""
        self.check()
        self._interrupts = True
        try:
            yield
        finally:
            self._interrupts = False

    def _received(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self._interrupts:
            self._interrupts = False
            raise StopRequested


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Waits for a condition for at most ``seconds``, regardless of signals. Returns whether it came true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
