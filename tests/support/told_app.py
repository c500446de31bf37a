"""The server with an extra route that shows the state in which its worker started."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
import threading
from collections import Counter
from contextlib import suppress
from typing import Any

from flask import Response, jsonify
from gevent import monkey

from app import create_app

app = create_app()


@app.get("/told")
def tell() -> Response:
    return jsonify(
        master=os.getppid(), session=os.getsid(0), patched=_patched(), taken=_taken(), beginning=_beginning()
    )


def _patched() -> dict[str, str]:
    """The present value of each name in the standard library that gevent replaces."""
    return {f"{module}.{name}": _named(getattr(sys.modules[module], name, None)) for module, name in _places()}


def _taken() -> dict[str, dict[str, str]]:
    """Which of those values, original or replaced, each module has imported by name."""
    known = {id(original): f"own {module}.{name}" for (module, name), original in _places().items()}
    for module, name in _places():
        known[id(getattr(sys.modules[module], name, None))] = f"gevent's {module}.{name}"
    del known[id(None)]
    return {
        name: {item: known[id(value)] for item, value in list(vars(module).items()) if id(value) in known}
        for name, module in list(sys.modules.items())
    }


def _beginning() -> dict[str, Any]:
    return {
        "signals": {number.name: _named(signal.getsignal(number)) for number in signal.Signals},
        "is in the main thread": threading.current_thread() is threading.main_thread(),
        "threads": [thread.name for thread in threading.enumerate()],
        "loop policy": _named(asyncio.get_event_loop_policy()),
        "is imported from its folder first": sys.path[0] == os.getcwd(),
        "is imported from then": sys.path[1:],
        "flags": list(sys.flags),
        "variables": dict(os.environ),
        "umask": os.umask(0o022),
        "niceness": os.nice(0),
        "limit of descriptors": resource.getrlimit(resource.RLIMIT_NOFILE),
        "descriptors": Counter(_kind(number) for number in os.listdir("/proc/self/fd")),
    }


def _kind(number: str) -> str:
    """The kind of a descriptor: pipe, socket, anon_inode or a path, without what differs from process to process."""
    with suppress(FileNotFoundError):  # the descriptor that listed the folder
        return os.readlink(f"/proc/self/fd/{number}").partition(":")[0].partition("-")[0]
    return "none"


def _places() -> dict[tuple[str, str], Any]:
    saved: dict[str, dict[str, Any]] = monkey.saved  # type: ignore[attr-defined]
    return {
        (module, name): original
        for module, originals in saved.items()
        if module in sys.modules
        for name, original in originals.items()
    }


def _named(one: object) -> str:
    kind = one if hasattr(one, "__qualname__") else type(one)
    return f"{kind.__module__}.{getattr(kind, '__qualname__', kind)}"
