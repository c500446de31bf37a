"""The kinds of origins of runs, and the hooks of each."""

from __future__ import annotations

from errors import InvalidComposition
from runtime.config import OperatorRules
from runtime.protocol.events import RunEnd
from runtime.runs import ASIDE, CLEANUP, RUN, TURN, Job, ProvenRun, RunHooks, RunNotBegun
from runtime.runtime import Runtime
from services.run_checks import proven_run
from services.sessions.assembly import SessionParts


def register_origins(runtime: Runtime, sessions: SessionParts) -> None:
    """Tell the runtime how runs of each kind are executed. A new kind is a line here."""

    def plain(job: Job) -> RunHooks:
        return PlainRun(job, runtime.config.rules)

    runtime.origins.register(RUN, plain)
    runtime.origins.register(ASIDE, plain)
    runtime.origins.register(TURN, sessions.turns.hooks)
    runtime.origins.register(CLEANUP, sessions.cleanup.hooks)


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
