"""The server with an extra route that blocks its whole worker in C code, as a bad regular expression does."""

from __future__ import annotations

import re
import time

from app import create_app

app = create_app()

_BAD = re.compile(r"(a|a)*b")


@app.post("/holding/<int:seconds>")
def hold(seconds: int) -> str:
    """Blocks every greenlet and the event loop of this worker."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        _BAD.match("a" * 22)
    return "done"
