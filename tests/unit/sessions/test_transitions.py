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
ENDS = (SUCCEEDED, FAILED, CANCELLED, None)


def test_a_success_is_taken_over_also_when_it_came_before_it_could_be_interrupted() -> None:
    assert {outcome(SUCCEEDED, stop) for stop in (None, TurnStop.INTERRUPT)} == {Outcome.TAKEN_OVER}


@pytest.mark.parametrize("record", ENDS)
def test_a_turn_that_is_rolled_back_is_gone_however_its_run_has_ended(record: RunRecord | None) -> None:
    assert outcome(record, TurnStop.ROLLBACK) is Outcome.ROLLED_BACK


def test_what_was_said_is_remembered_of_an_interrupted_turn_alone() -> None:
    interrupted = [
        (record, stop) for record in ENDS for stop in (None, *TurnStop) if outcome(record, stop) is Outcome.INTERRUPTED
    ]

    assert interrupted == [(CANCELLED, TurnStop.INTERRUPT)]


def test_a_run_that_redis_has_lost_has_failed_its_turn() -> None:
    assert STATUSES[outcome(None, None)] is TurnStatus.FAILED


def test_a_cancelled_run_of_a_dialect_without_that_status_has_cancelled_its_turn() -> None:
    told_as_failed = CANCELLED.model_copy(update={"status": RunStatus.FAILED})

    assert STATUSES[outcome(told_as_failed, None)] is TurnStatus.CANCELLED


def test_every_outcome_but_the_rollback_is_a_status() -> None:
    assert set(STATUSES) == set(Outcome) - {Outcome.ROLLED_BACK}
