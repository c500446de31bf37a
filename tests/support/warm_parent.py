"""A process that has imported all that a server imports, and forks servers that start from there.

Most of a start is spent importing. This process imports in the order of a real start: first what gunicorn's master
imports, then, patched by gevent, what a worker does. Then it takes the patches back as if they had never been made, so
that a forked master runs unpatched and its workers patch themselves. Importing opens nothing and reads no settings, so
a server reads its environment only after the fork.

``tests/support/forking.py`` is the other side. Its requests come over the socket that is our standard input.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import runpy
import signal
import socket
import sys
import time
from importlib import import_module
from typing import Any
from unittest.mock import patch

from gevent import monkey

from dev.processes import PR_SET_PDEATHSIG

OF_THE_MASTER = (
    "gunicorn.app.wsgiapp",
    "gunicorn.glogging",
    "gunicorn.workers.ggevent",
    "settings",
    "concurrent.futures.thread",  # gevent would import it unseen, and its fork hook is to stay
)
OF_THE_WORKER = ("app", "blueprints.malformed_http", "blueprints.rate_limit", "runtime.gunicorn_worker")

REQUEST_BYTES = 1 << 17
MOST_DESCRIPTORS = 3
INIT = 1
ADOPTION_SECONDS = 0.001


def warm_up() -> None:
    for name in OF_THE_MASTER:
        import_module(name)
    with patch.object(os, "register_at_fork"):  # gevent registers a fork hook when it patches, which cannot be removed
        monkey.patch_all()
    for name in OF_THE_WORKER:
        import_module(name)
    take_patches_back()
    gc.collect()
    gc.freeze()  # forks share memory that the collector does not touch


def take_patches_back() -> None:
    """Restores what gevent has replaced in the standard library; the next ``patch_all`` does all of its work again."""
    patched: dict[str, dict[str, Any]] = monkey.saved  # type: ignore[attr-defined]
    for name, originals in patched.items():
        module = sys.modules.get(name)  # one entry is not a module but the arguments of ``patch_all``
        if module is not None:
            for attribute, original in originals.items():
                setattr(module, attribute, original)
    patched.clear()


def serve(control: socket.socket) -> dict[str, Any]:
    """Forks for each request until the other side closes. Returns the request, in the process that is to run it."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, REQUEST_BYTES, MOST_DESCRIPTORS)
        if not message:
            sys.exit()
        between = os.fork()
        if between == 0:
            # This process ends at once, so that the requesting process becomes the parent of the one forked here.
            forked = os.fork()
            if forked:
                control.send(str(forked).encode())
                os._exit(0)
            control.close()
            request: dict[str, Any] = json.loads(message)
            become_child_of(request["parent"])
            take_descriptors(descriptors)
            return request
        os.waitpid(between, 0)
        control.send(b"left behind")
        for descriptor in descriptors:
            os.close(descriptor)


def become_child_of(parent: int) -> None:
    """Starts a new session, waits until ``parent`` has adopted this process, and arranges to end when it does."""
    os.setsid()
    while os.getppid() != parent:
        if os.getppid() == INIT:
            os._exit(1)
        time.sleep(ADOPTION_SECONDS)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


def take_descriptors(descriptors: list[int]) -> None:
    """Makes these descriptors 1 and 2 (output and error), and perhaps 3. Input is empty, all others are closed."""
    beyond = max(descriptors) + MOST_DESCRIPTORS
    moved = [os.dup2(descriptor, beyond + number) for number, descriptor in enumerate(descriptors)]
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, descriptor in enumerate([nothing, *moved]):
        os.dup2(descriptor, number)
    os.closerange(len(moved) + 1, os.sysconf("SC_OPEN_MAX"))


def run(request: dict[str, Any]) -> None:
    """Runs the module as ``python -m`` would in this folder and environment."""
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = [request["module"], *request["arguments"]]
    sys.path[0] = request["folder"]
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    warm_up()
    control = socket.socket(fileno=os.dup(0))
    control.send(b"warm")
    run(serve(control))
