"""The worker as services see it."""

from __future__ import annotations

from typing import Protocol

from runtime.runs.runs import Runs


class Worker(Protocol):
    """The process that serves requests and executes runs: the part of ``Runtime`` that services may use."""

    @property
    def runs(self) -> Runs:
        """The runs of this worker. The connection to Redis is opened on first use."""

    def take_token(self, name: str, *, rate: float, burst: int) -> float:
        """Takes a token from a bucket that all workers share. Returns 0, or the seconds until there will be one.

        ``name`` ends in hexadecimal digits. Raises StorageUnavailable.
        """

    @property
    def is_draining(self) -> bool:
        """Whether the worker is about to end and accepts nothing new."""
