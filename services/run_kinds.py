"""The kinds of runs: who asks for them, how they are executed, and who is notified of their ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from errors import InvalidComposition
from runtime.config import OperatorRules
from runtime.protocol.events import RunEnd
from runtime.runs import (
    ASIDE,
    CLEANUP,
    RUN,
    TURN,
    Handler,
    HeardEnd,
    Job,
    Observers,
    Origins,
    ProvenRun,
    RunHooks,
    RunNotBegun,
)
from services.assembly import TurnWork
from services.run_checks import proven_run


def register_run_kinds(origins: Origins, observers: Observers, rules: OperatorRules, work: TurnWork) -> None:
    """Registers each kind of origin, and each observer. A new one is a line here."""

    def plain(job: Job) -> RunHooks:
        return PlainRun(job, rules)

    origins.register(RUN, plain)
    origins.register(ASIDE, plain)
    origins.register(TURN, work.turns.hooks)
    origins.register(CLEANUP, work.cleanup.hooks)
    by_kind = {TURN: work.line.hear, CLEANUP: work.cleanup.hear}
    observers.register("sessions", partial(hear_by_kind, by_kind), at_once=work.pending.note)


def hear_by_kind(handlers: Mapping[str, Handler], heard: Sequence[HeardEnd]) -> None:
    """Passes each end to the handler of its origin's kind; ends of other kinds are ignored."""
    for kind in {one.end.origin.kind for one in heard}:
        of_kind = [one for one in heard if one.end.origin.kind == kind]
        if kind in handlers:
            handlers[kind](of_kind)
        else:
            for one in of_kind:
                one.acknowledge()


class PlainRun(RunHooks):
    """A run that executes what its request says, and nothing else."""

    def __init__(self, job: Job, rules: OperatorRules) -> None:
        self._job: Job | None = job
        self._rules = rules

    def begin(self, proven: ProvenRun | None) -> ProvenRun | None:
        job, self._job = self._job, None  # a request may be large, and the run may take long
        if proven is not None or job is None or job.request is None:
            return proven
        try:
            return proven_run(job.request, job.dialect, self._rules)
        except InvalidComposition as error:
            raise RunNotBegun(RunEnd.failed(error.message, reason=error.code)) from error
