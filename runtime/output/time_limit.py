"""A bound on how long a check may take where it runs, held by those who do the work in small steps."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_deadline: ContextVar[float] = ContextVar("greenrun_output_deadline", default=math.inf)


class OutOfTime(Exception):
    """the check takes longer than it may here"""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Let the block take so many seconds, or fewer when a limit around it says so."""
    token = _deadline.set(min(_deadline.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _deadline.reset(token)


def check_time() -> None:
    """Raise OutOfTime when the limit has passed. Call it between steps that are short by themselves."""
    if time.monotonic() > _deadline.get():
        raise OutOfTime
