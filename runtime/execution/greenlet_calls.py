"""Runs the blocking calls of coroutines in greenlets, where other loops use threads."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVarTuple, Unpack

import gevent

Ts = TypeVarTuple("Ts")


def call_in_greenlet(
    loop: asyncio.AbstractEventLoop, func: Callable[[Unpack[Ts]], Any], *args: *Ts
) -> asyncio.Future[Any]:
    """Calls ``func`` in a new greenlet and returns a future for its result or exception.

    As with a thread, cancelling the future does not stop the call.
    """
    future: asyncio.Future[Any] = loop.create_future()

    def work() -> None:
        result, error = _outcome(func, args)
        if future.done() or loop.is_closed():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    gevent.spawn(work)
    return future


def _outcome(func: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, BaseException | None]:
    try:
        return func(*args), None
    except StopIteration as stop:
        # A future refuses StopIteration, so that the coroutine that awaits it would wait for ever.
        error = RuntimeError("A function called in a greenlet raised StopIteration")
        error.__cause__ = stop
        return None, error
    except BaseException as error:
        return None, error
