"""What a service adds to a run that it has started: it is asked at the run's seams."""

from __future__ import annotations

from abc import ABC, abstractmethod

from runtime.composition.composition import Composition
from runtime.protocol.events import RunEnd


class RunNotBegun(Exception):
    """The run cannot begin; ``end`` is how it ends."""

    def __init__(self, end: RunEnd) -> None:
        super().__init__(end.error)
        self.end = end


class RunHooks(ABC):
    """All methods but ``stop`` are called in the run's own greenlet, one after the other, and may wait there."""

    @abstractmethod
    def begin(self) -> Composition | None:
        """What to execute, as soon as it is this run's turn; None when it was stopped. Raises RunNotBegun."""

    @abstractmethod
    def stop(self) -> None:
        """The run is stopped: ``begin``, if it still waits, is to return soon. May come from any greenlet."""

    @abstractmethod
    def prepare(self, end: RunEnd) -> None:
        """The run ends like this by itself, and nobody can know it yet. It may still turn out that something else
        has ended it."""

    @abstractmethod
    def settle(self, end: RunEnd | None) -> None:
        """The run has ended, with ``end``; None when something else has ended it, and only its record says how."""
