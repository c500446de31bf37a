"""The server with an extra route that counts what its worker holds."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections import Counter
from pathlib import Path

from flask import Response, jsonify
from greenlet import greenlet

from app import EXTENSION, create_app

OURS = ("blueprints", "errors", "runtime", "services")
PAGE_KILOBYTES = os.sysconf("SC_PAGE_SIZE") // 1024

app = create_app()


@app.get("/counts")
def count() -> Response:
    """Returns the counts after a garbage collection; ``objects`` counts instances of our own classes, by class."""
    gc.collect()
    objects = gc.get_objects()
    runtime = app.extensions[EXTENSION]
    return jsonify(
        descriptors=len(os.listdir("/proc/self/fd")),
        greenlets=sum(isinstance(one, greenlet) and not one.dead for one in objects),
        threads=len(os.listdir("/proc/self/task")),
        python_threads=threading.active_count(),
        tasks=Counter(_named(one) for one in objects if isinstance(one, asyncio.Task)),
        runs=len(runtime.runs.active),
        subscribers=runtime.runs.subscriber_count,
        kilobytes=int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_KILOBYTES,
        objects=_own_objects(objects),
    )


def _named(task: asyncio.Task[object]) -> str:
    return f"{'done' if task.done() else 'pending'} {getattr(task.get_coro(), '__qualname__', '?')}"


def _own_objects(objects: list[object]) -> dict[str, int]:
    found = Counter(type(one) for one in objects)
    return {
        f"{kind.__module__}.{kind.__qualname__}": number
        for kind, number in found.items()
        if kind.__module__.partition(".")[0] in OURS
    }
