"""The server, and beside it a route that holds up its whole worker in C code, as a bad regular expression does."""

from __future__ import annotations

import re
import time

from app import create_app

app = create_app()

_BAD = re.compile(r"(a|a)*b")


@app.post("/holding/<int:seconds>")
def hold(seconds: int) -> str:
    """Let nothing else run on this worker, no greenlet and no event loop."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        _BAD.match("a" * 22)
    return "done"
