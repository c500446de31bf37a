"""The server with extra routes that fail: at once, or later in gunicorn, which then logs the request."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator

import gevent
from flask import Response, request

from app import EXTENSION, create_app

app = create_app()


@app.get("/failing/at-once")
def fail_at_once() -> Response:
    raise RuntimeError("this fails in the view")


@app.get("/failing/early")
def fail_early() -> Response:
    """Fails after Flask has returned the answer, and before its first byte."""
    return Response(_fail())


@app.get("/failing/beside")
def fail_beside() -> str:
    """Fails everywhere but in the view, each time with the text of the query, so that any log of the error shows it."""
    words = request.args["words"]
    gevent.spawn(_raise, words)
    runtime = app.extensions[EXTENSION]
    runtime.start()
    loop = runtime._bridge.loop
    loop.call_soon_threadsafe(_raise, words)
    loop.call_soon_threadsafe(lambda: loop.create_task(_fail_alone(words)))
    warnings.warn(words, UserWarning, stacklevel=1)
    _FailsAtItsEnd(words)
    threading.Thread(target=_raise, args=(words,)).start()
    logging.getLogger("a.library").error("cannot read %s", words)
    return "failed"


def _raise(words: str) -> None:
    raise RuntimeError(words)


async def _fail_alone(words: str) -> None:
    raise RuntimeError(words)


class _FailsAtItsEnd:
    def __init__(self, words: str) -> None:
        self._words = words

    def __del__(self) -> None:
        raise RuntimeError(self._words)


def _fail() -> Iterator[bytes]:
    raise RuntimeError("this fails before the answer begins")
    yield b""
