"""Origins: who asks for runs. The kind of a job's origin names the hooks that its run is executed with."""

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
    """What a run executes, bound and checked."""

    composition: Composition
    dialect: Dialect
    layers: Sequence[LayerSpec] = field(repr=False)
    deferred_results: DeferredToolResults | None = field(default=None, repr=False)
    """What the request answers to the tool call that ended the run before."""
    is_cleanup: bool = False
    """Whether it only leaves the layers of a session for good, and calls no model."""


class RunNotBegun(Exception):
    """The run cannot begin; ``end`` is how it ends."""

    def __init__(self, end: RunEnd) -> None:
        super().__init__(end.error)
        self.end = end


class RunHooks(ABC):
    """What an origin adds to one of its runs.

    All methods but ``stop`` are called in the run's own greenlet, one after the other, and may wait there.
    """

    @abstractmethod
    def begin(self, proven: ProvenRun | None) -> ProvenRun | None:
        """What to execute, as soon as it is this run's turn; None when it was stopped. Raises RunNotBegun.

        ``proven`` is what this process has made of the job just now, where it has.
        """

    def stop(self) -> None:  # noqa: B027 (most have nothing to stop)
        """The run is stopped: ``begin``, if it still waits, is to return soon. May come from any greenlet."""

    def prepare(self, end: RunEnd) -> None:  # noqa: B027
        """The run ends like this by itself, and nobody can know it yet. It may still turn out that something else
        has ended it."""


HooksMaker = Callable[[Job], RunHooks]


class Origins:
    """The kinds of origins. Services register theirs before the runtime starts."""

    def __init__(self) -> None:
        self._makers: dict[str, HooksMaker] = {}

    def register(self, kind: str, make: HooksMaker) -> None:
        """Have the runs of this kind executed with the hooks that ``make`` gives for a job."""
        self._makers[kind] = make

    def hooks(self, job: Job) -> RunHooks:
        """The hooks of a job's run. Raises KeyError for a kind that nobody has registered."""
        return self._makers[job.origin.kind](job)
