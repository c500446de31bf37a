"""Origins: who asks for runs. The kind of a job's origin selects the hooks that its run is executed with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from runtime.composition.composition import Composition
from runtime.protocol.dialects import Dialect
from runtime.protocol.events import RunEnd
from runtime.protocol.jobs import Job
from runtime.protocol.requests import DeferredToolResults, LayerSpec


@dataclass(frozen=True, slots=True)
class ProvenRun:
    """What a run executes: a composition that was bound to its layers and checked."""

    composition: Composition
    dialect: Dialect
    layers: Sequence[LayerSpec] = field(repr=False)
    deferred_results: DeferredToolResults | None = field(default=None, repr=False)
    """The request's results for the tool call that ended the previous run."""
    is_cleanup: bool = False
    """Whether the run only deletes what the layers of a session keep, and calls no model."""


class RunNotBegun(Exception):
    """Raised when a run cannot begin; ``end`` is how it ends."""

    def __init__(self, end: RunEnd) -> None:
        super().__init__(end.error)
        self.end = end


class RunHooks(ABC):
    """What an origin adds to the execution of one of its runs.

    All methods but ``stop`` are called in the run's own greenlet, one after the other, and may block it.
    """

    @abstractmethod
    def begin(self, proven: ProvenRun | None) -> ProvenRun | None:
        """Waits for the run's turn and returns what it executes; None when the run was stopped. Raises RunNotBegun.

        ``proven`` is what this process has just made from the job, if it has.
        """

    def stop(self) -> None:  # noqa: B027 (most have nothing to stop)
        """Makes a waiting ``begin`` return soon, because the run is stopped. May be called from any greenlet."""

    def prepare(self, end: RunEnd) -> None:  # noqa: B027
        """Called when the run has ended by itself, before its end is stored and visible.

        Something else may still end the run first, in a different way.
        """


HooksMaker = Callable[[Job], RunHooks]


class Origins:
    """The registered kinds of origins. Services register theirs before the runtime starts."""

    def __init__(self) -> None:
        self._makers: dict[str, HooksMaker] = {}

    def register(self, kind: str, make: HooksMaker) -> None:
        """Has the runs of this kind executed with the hooks that ``make`` returns for a job."""
        self._makers[kind] = make

    def hooks(self, job: Job) -> RunHooks:
        """Returns the hooks for a job's run. Raises KeyError for a kind that is not registered."""
        return self._makers[job.origin.kind](job)
