"""Ends of runs that come from the server and not from a model."""

from __future__ import annotations

from errors import SessionBusy
from runtime.protocol.events import RunEnd

STORAGE = "storage"
SHUTDOWN = RunEnd.failed("run cancelled during server shutdown", reason="shutdown")
STORAGE_LOST = RunEnd.failed("the run's events can no longer be stored", reason=STORAGE)
WORKER_LOST = RunEnd.failed("the worker that executed the run was lost", reason="worker_lost")


def waited_too_long(seconds: float) -> RunEnd:
    """Returns the end of a turn that has waited in line for more than ``seconds``."""
    return RunEnd.failed(
        f"the turn waited longer than {seconds:g} seconds for those before it", reason=SessionBusy.code
    )
