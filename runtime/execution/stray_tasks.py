"""Cancels tasks that a run would leave behind.

A cancel that comes at the moment in which Pydantic AI starts a run leaves a task of that run waiting for ever, with
everything that the run holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from contextvars import ContextVar
from typing import Any, TypeVar
from weakref import WeakSet

T = TypeVar("T")

_begun: ContextVar[WeakSet[asyncio.Task[Any]] | None] = ContextVar("begun", default=None)


def task_factory(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
    /,
    **options: Any,
) -> asyncio.Task[Any]:
    """Creates an ordinary task that the run that starts it keeps track of. For the loop's ``set_task_factory``."""
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
    begun = _begun.get()
    if begun is not None:
        begun.add(task)
    return task


async def leaving_no_tasks(coroutine: Coroutine[Any, Any, T]) -> T:
    """Awaits a coroutine that makes up its whole task. If it is cancelled, so are the tasks that it has started."""
    begun: WeakSet[asyncio.Task[Any]] = WeakSet()
    _begun.set(begun)
    try:
        return await coroutine
    except asyncio.CancelledError:
        for task in list(begun):
            task.cancel()
        raise
