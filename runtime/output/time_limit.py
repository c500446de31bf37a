"""A time limit for checks in this process. The code that does the work checks it between small steps."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_deadline: ContextVar[float] = ContextVar("greenrun_output_deadline", default=math.inf)


class OutOfTime(Exception):
    """Raised when a check takes longer than it may in this process."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Limits the time of a block, to less if an outer limit ends earlier."""
    token = _deadline.set(min(_deadline.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _deadline.reset(token)


def check_time() -> None:
    """Raises OutOfTime when the limit has passed. Call it between short steps."""
    if time.monotonic() > _deadline.get():
        raise OutOfTime
