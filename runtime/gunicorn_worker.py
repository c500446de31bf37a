"""The runtime inside a gunicorn worker: started with it, drained when it is to stop, and closed at its exit."""

from __future__ import annotations

from typing import Any

import gevent

from runtime.runtime import Runtime

WATCH_SECONDS = 0.1


def attach(runtime: Runtime, worker: Any) -> None:
    """Starts the runtime, and drains it as soon as the worker is to stop. For gunicorn's ``post_worker_init``.

    The effect that TERM, HUP, QUIT and ``max_requests`` have in common is that ``worker.alive`` becomes false.
    """
    runtime.start()
    gevent.spawn(_drain_when_stopping, runtime, worker)


def hurry(runtime: Runtime) -> None:
    """Ends the grace at once, for a quick shutdown. For gunicorn's ``worker_int``."""
    runtime.hurry()


def detach(runtime: Runtime) -> None:
    """Drains and closes the runtime. For gunicorn's ``worker_exit``.

    gunicorn waits for open requests, but not for runs without subscribers.
    """
    runtime.expect_no_callers()
    runtime.drain()
    runtime.close()


def _drain_when_stopping(runtime: Runtime, worker: Any) -> None:
    while worker.alive:
        gevent.sleep(WATCH_SECONDS)
    runtime.drain()
