"""The runtime's life inside a gunicorn worker: started with it, drained when it is told to stop, closed at its exit."""

from __future__ import annotations

from typing import Any

import gevent

from runtime.runtime import Runtime

WATCH_SECONDS = 0.1


def attach(runtime: Runtime, worker: Any) -> None:
    """For gunicorn's ``post_worker_init``: start, and drain as soon as the worker is to stop.

    TERM, HUP, QUIT and ``max_requests`` have one sign in common: ``worker.alive`` goes false.
    """
    runtime.start()
    gevent.spawn(_drain_when_stopping, runtime, worker)


def hurry(runtime: Runtime) -> None:
    """For gunicorn's ``worker_int``: a quick shutdown has no grace."""
    runtime.hurry()


def detach(runtime: Runtime) -> None:
    """For gunicorn's ``worker_exit``: gunicorn waits for open requests, but not for runs that nobody watches."""
    runtime.expect_no_callers()
    runtime.drain()
    runtime.close()


def _drain_when_stopping(runtime: Runtime, worker: Any) -> None:
    while worker.alive:
        gevent.sleep(WATCH_SECONDS)
    runtime.drain()
