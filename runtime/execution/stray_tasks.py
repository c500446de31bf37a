"""Tasks that a run has left behind.

A cancel that comes in the moment in which Pydantic AI starts a run leaves a task of it waiting for ever, with all that
the run has held.
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
    """For the loop's ``set_task_factory``: an ordinary task, of which the run that begins it knows."""
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
    begun = _begun.get()
    if begun is not None:
        begun.add(task)
    return task


async def leaving_no_tasks(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine that is all of its task; when it is cancelled, so are the tasks that it has begun."""
    begun: WeakSet[asyncio.Task[Any]] = WeakSet()
    _begun.set(begun)
    try:
        return await coroutine
    except asyncio.CancelledError:
        for task in list(begun):
            task.cancel()
        raise
