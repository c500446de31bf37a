"""The phases of a run, and the table of allowed transitions."""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """How far a run has come."""

    WAITING = "waiting"
    """It is stored and has no events yet."""
    BEGUN = "begun"
    """Its first event is stored, and a worker owns it."""
    ENDING = "ending"
    """Its end is queued after its events: from now on only Redis decides whether that end counts."""
    ENDED = "ended"
    """Its terminal event and its status are stored. Nothing follows."""


_NEXT: dict[Phase, frozenset[Phase]] = {
    Phase.WAITING: frozenset({Phase.BEGUN, Phase.ENDING, Phase.ENDED}),
    Phase.BEGUN: frozenset({Phase.ENDING, Phase.ENDED}),
    Phase.ENDING: frozenset({Phase.ENDING, Phase.ENDED}),  # an end that Redis has refused is retried
    Phase.ENDED: frozenset(),
}


class PhaseRefused(RuntimeError):
    """Raised when a run cannot go from one phase to another."""

    def __init__(self, now: Phase, then: Phase) -> None:
        super().__init__(f"a run that is {now} cannot become {then}")


def transition(now: Phase, then: Phase) -> Phase:
    """Returns the phase ``then`` if a run in phase ``now`` may enter it. Raises PhaseRefused."""
    if then not in _NEXT[now]:
        raise PhaseRefused(now, then)
    return then
