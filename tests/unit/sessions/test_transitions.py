"""What becomes of a turn."""

from __future__ import annotations

import pytest

from models.enums import TurnStatus, TurnStop
from runtime.protocol.dialects import Dialect
from runtime.protocol.records import RunRecord, RunStatus
from services.sessions.turns.transitions import STATUSES, Outcome, outcome

RUNNING = RunRecord.begin("run-1", dialect=Dialect.CURRENT, worker="worker")
SUCCEEDED = RUNNING.model_copy(update={"status": RunStatus.SUCCEEDED})
FAILED = RUNNING.model_copy(update={"status": RunStatus.FAILED})
CANCELLED = RUNNING.model_copy(update={"status": RunStatus.CANCELLED, "cancelled": True})
ENDS = (SUCCEEDED, FAILED, CANCELLED)


@pytest.mark.parametrize(
    ("record", "stop", "becomes"),
    [
        (SUCCEEDED, None, Outcome.TAKEN_OVER),
        (SUCCEEDED, TurnStop.INTERRUPT, Outcome.TAKEN_OVER),
        (SUCCEEDED, TurnStop.ROLLBACK, Outcome.ROLLED_BACK),
        (FAILED, None, Outcome.FAILED),
        (FAILED, TurnStop.INTERRUPT, Outcome.FAILED),
        (FAILED, TurnStop.ROLLBACK, Outcome.ROLLED_BACK),
        (CANCELLED, None, Outcome.CANCELLED),
        (CANCELLED, TurnStop.INTERRUPT, Outcome.INTERRUPTED),
        (CANCELLED, TurnStop.ROLLBACK, Outcome.ROLLED_BACK),
        (None, None, Outcome.FAILED),
        (None, TurnStop.INTERRUPT, Outcome.FAILED),
        (None, TurnStop.ROLLBACK, Outcome.ROLLED_BACK),
    ],
)
def test_what_becomes_of_a_turn(record: RunRecord | None, stop: TurnStop | None, becomes: Outcome) -> None:
    assert outcome(record, stop) is becomes


def test_every_end_of_a_run_has_an_outcome_whatever_the_turn_is_marked_with() -> None:
    found = {outcome(record, stop) for record in (*ENDS, None) for stop in (None, *TurnStop)}

    assert found == set(Outcome)


@pytest.mark.parametrize("stop", [None, *TurnStop])
def test_nothing_becomes_of_a_turn_whose_run_goes_on(stop: TurnStop | None) -> None:
    for record in (RUNNING, RUNNING.model_copy(update={"waits": True})):
        with pytest.raises(ValueError, match="goes on"):
            outcome(record, stop)


@pytest.mark.parametrize(
    ("became", "status"),
    [
        (Outcome.TAKEN_OVER, TurnStatus.SUCCEEDED),
        (Outcome.FAILED, TurnStatus.FAILED),
        (Outcome.CANCELLED, TurnStatus.CANCELLED),
        (Outcome.INTERRUPTED, TurnStatus.CANCELLED),
    ],
)
def test_the_status_of_an_outcome(became: Outcome, status: TurnStatus) -> None:
    assert STATUSES[became] is status


def test_a_cancelled_run_of_a_dialect_without_that_status_has_cancelled_its_turn() -> None:
    told_as_failed = CANCELLED.model_copy(update={"status": RunStatus.FAILED})

    assert STATUSES[outcome(told_as_failed, None)] is TurnStatus.CANCELLED


def test_every_outcome_but_the_rollback_is_a_status() -> None:
    assert set(STATUSES) == set(Outcome) - {Outcome.ROLLED_BACK}
