"""What becomes of a turn, by how its run has ended: the one table."""

from __future__ import annotations

from enum import StrEnum

from models.enums import TurnStatus, TurnStop
from runtime.protocol.records import RunRecord, RunStatus


class Fate(StrEnum):
    """How the run of a turn has ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    GONE = "gone"
    """Redis has lost it, or never had it."""


class Outcome(StrEnum):
    """What becomes of the turn."""

    TAKEN_OVER = "taken_over"
    """Its session goes on from what it has learnt."""
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    """Cancelled, and its session remembers what had been said."""
    ROLLED_BACK = "rolled_back"
    """There is no such turn any more."""


_OUTCOMES: dict[tuple[Fate, TurnStop | None], Outcome] = {
    (Fate.SUCCEEDED, None): Outcome.TAKEN_OVER,
    (Fate.SUCCEEDED, TurnStop.INTERRUPT): Outcome.TAKEN_OVER,  # it ended before it could be stopped
    (Fate.SUCCEEDED, TurnStop.ROLLBACK): Outcome.ROLLED_BACK,
    (Fate.FAILED, None): Outcome.FAILED,
    (Fate.FAILED, TurnStop.INTERRUPT): Outcome.FAILED,
    (Fate.FAILED, TurnStop.ROLLBACK): Outcome.ROLLED_BACK,
    (Fate.CANCELLED, None): Outcome.CANCELLED,
    (Fate.CANCELLED, TurnStop.INTERRUPT): Outcome.INTERRUPTED,
    (Fate.CANCELLED, TurnStop.ROLLBACK): Outcome.ROLLED_BACK,
    (Fate.GONE, None): Outcome.FAILED,
    (Fate.GONE, TurnStop.INTERRUPT): Outcome.FAILED,
    (Fate.GONE, TurnStop.ROLLBACK): Outcome.ROLLED_BACK,
}

STATUSES: dict[Outcome, TurnStatus] = {
    Outcome.TAKEN_OVER: TurnStatus.SUCCEEDED,
    Outcome.FAILED: TurnStatus.FAILED,
    Outcome.CANCELLED: TurnStatus.CANCELLED,
    Outcome.INTERRUPTED: TurnStatus.CANCELLED,
}
"""The status of the turn; there is none of one that was rolled back."""


def outcome(record: RunRecord | None, stop: TurnStop | None) -> Outcome:
    """What becomes of a turn that somebody has, or has not, marked to be stopped, and whose run has ended.

    ``record`` is None where the run is gone. Raises ValueError for a run that has not ended.
    """
    return _OUTCOMES[_fate(record), stop]


def _fate(record: RunRecord | None) -> Fate:
    if record is None:
        return Fate.GONE
    if not record.has_ended:
        raise ValueError("nothing has become of a turn whose run goes on")
    if record.cancelled:
        return Fate.CANCELLED
    return Fate.SUCCEEDED if record.status is RunStatus.SUCCEEDED else Fate.FAILED
