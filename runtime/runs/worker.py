"""The worker, as services see it."""

from __future__ import annotations

from typing import Protocol

from runtime.runs.runs import Runs


class Worker(Protocol):
    """The process that serves requests and executes runs. ``Runtime`` is it; to services it offers this and no more."""

    @property
    def runs(self) -> Runs:
        """What is asked of runs. Nothing is opened before somebody asks."""

    @property
    def is_draining(self) -> bool:
        """Whether the worker is about to end, and takes nothing new."""
