"""The server, and beside it routes that fail: at once, or in gunicorn's hands, which then logs the request."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Response

from app import create_app

app = create_app()


@app.get("/failing/at-once")
def fail_at_once() -> Response:
    raise RuntimeError("this fails in the view")


@app.get("/failing/early")
def fail_early() -> Response:
    """Fail after Flask has let go of the answer, and before its first byte."""
    return Response(_fail())


def _fail() -> Iterator[bytes]:
    raise RuntimeError("this fails before the answer begins")
    yield b""
