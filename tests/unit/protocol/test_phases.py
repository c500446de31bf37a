"""The phases of a run."""

from __future__ import annotations

from itertools import product

import pytest

from runtime.protocol.dialects import Dialect
from runtime.protocol.phases import Phase, PhaseRefused, transition
from runtime.protocol.records import RunRecord, RunStatus

ORDER = [Phase.WAITING, Phase.BEGUN, Phase.ENDING, Phase.ENDED]


def test_a_run_goes_through_its_phases_in_order() -> None:
    phases = [Phase.WAITING]

    for phase in ORDER[1:]:
        phases.append(transition(phases[-1], phase))

    assert phases == ORDER


ALLOWED = {
    (Phase.WAITING, Phase.BEGUN),
    (Phase.WAITING, Phase.ENDING),
    (Phase.WAITING, Phase.ENDED),
    (Phase.BEGUN, Phase.ENDING),
    (Phase.BEGUN, Phase.ENDED),
    (Phase.ENDING, Phase.ENDING),
    (Phase.ENDING, Phase.ENDED),
}
"""An end that Redis has refused is tried again, and others may end a run in any phase."""


@pytest.mark.parametrize(("now", "then"), sorted(product(Phase, Phase)), ids=str)
def test_what_may_follow_what(now: Phase, then: Phase) -> None:
    if (now, then) in ALLOWED:
        assert transition(now, then) is then
        return
    with pytest.raises(PhaseRefused, match=f"a run that is {now} cannot become {then}"):
        transition(now, then)


def test_a_record_says_which_phase_its_run_is_in() -> None:
    record = RunRecord.begin("run-1", dialect=Dialect.CURRENT, worker="worker")

    assert record.phase is Phase.BEGUN
    assert record.model_copy(update={"waits": True}).phase is Phase.WAITING
    assert record.model_copy(update={"waits": True, "status": RunStatus.FAILED}).phase is Phase.ENDED
