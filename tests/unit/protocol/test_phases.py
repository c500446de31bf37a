"""The phases of a run."""

from __future__ import annotations

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


@pytest.mark.parametrize(
    ("now", "then"), [(now, then) for place, now in enumerate(ORDER) for then in ORDER[:place]], ids=str
)
def test_a_run_never_goes_back(now: Phase, then: Phase) -> None:
    with pytest.raises(PhaseRefused, match=f"a run that is {now} cannot become {then}"):
        transition(now, then)


def test_nothing_follows_the_end() -> None:
    for then in Phase:
        with pytest.raises(PhaseRefused):
            transition(Phase.ENDED, then)


@pytest.mark.parametrize("now", [Phase.WAITING, Phase.BEGUN])
def test_a_run_may_be_ended_by_others_in_any_phase(now: Phase) -> None:
    assert transition(now, Phase.ENDED) is Phase.ENDED


def test_an_end_that_was_refused_is_tried_again() -> None:
    assert transition(Phase.ENDING, Phase.ENDING) is Phase.ENDING


def test_a_record_says_which_phase_its_run_is_in() -> None:
    record = RunRecord.begin("run-1", dialect=Dialect.CURRENT, worker="worker")

    assert record.phase is Phase.BEGUN
    assert record.model_copy(update={"waits": True}).phase is Phase.WAITING
    assert record.model_copy(update={"waits": True, "status": RunStatus.FAILED}).phase is Phase.ENDED
