"""Turns of this process whose runs are ending: the next one of the same session had better wait for that."""

from __future__ import annotations

from gevent.event import Event

LONGEST_SECONDS = 0.5


class Endings:
    """A message that answers the end of the last one comes a moment before that is settled.

    To wait for it costs nothing; to find it unsettled costs the transaction that finds it, and another one. Turns of
    other processes, and what takes longer, are found all the same.
    """

    def __init__(self) -> None:
        self._ending: dict[str, Event] = {}

    def begin(self, session_id: str) -> None:
        """A turn of the session is about to end."""
        self._ending[session_id] = Event()

    def done(self, session_id: str) -> None:
        """It is settled, or was left to others; also for one that has not begun to end."""
        ending = self._ending.pop(session_id, None)
        if ending is not None:
            ending.set()

    def wait(self, session_id: str) -> None:
        """Until no turn of the session is ending, for a moment at most."""
        ending = self._ending.get(session_id)
        if ending is not None:
            ending.wait(LONGEST_SECONDS)
