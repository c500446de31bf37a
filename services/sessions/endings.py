"""Turns of this process that are ending, or have just succeeded and are not settled yet."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import gevent
from gevent.event import Event

from errors import DatabaseUnavailable
from services.sessions.lookup import TurnKey

logger = logging.getLogger(__name__)

LATER_SECONDS = 0.2
AT_ONCE = 100
LONGEST_WAIT_SECONDS = 0.5


class Endings:
    """Lets the next turn of a session settle the last one by the way, and settles the others together, a while later.

    What is known here only saves work: a turn that nobody settles for another reason is found by whoever needs it.
    """

    def __init__(self, settle_all: Callable[[Sequence[TurnKey]], object]) -> None:
        self._settle_all = settle_all
        self._ending: dict[str, Event] = {}
        self._succeeded: dict[str, TurnKey] = {}  # by session: two of one session must not be settled together
        self._later: gevent.Greenlet[..., None] | None = None

    def begin(self, key: TurnKey) -> None:
        """A turn is about to end. A message that answers its end may come before it is known how that was taken."""
        self._ending[key.session_id] = Event()

    def done(self, key: TurnKey) -> None:
        """It has ended; also for one that has not begun to end."""
        ending = self._ending.pop(key.session_id, None)
        if ending is not None:
            ending.set()

    def wait(self, session_id: str) -> None:
        """Until no turn of the session is ending, for a moment at most."""
        ending = self._ending.get(session_id)
        if ending is not None:
            ending.wait(LONGEST_WAIT_SECONDS)

    def settle_later(self, key: TurnKey) -> None:
        """A prepared turn has succeeded, and there is nothing else to settle of it."""
        self._succeeded[key.session_id] = key
        if self._later is None:
            self._later = gevent.spawn_later(LATER_SECONDS, self._settle)

    def has_succeeded(self, key: TurnKey) -> bool:
        """Whether it is one that is to be settled later."""
        return self._succeeded.get(key.session_id) == key

    def forget(self, key: TurnKey) -> None:
        """It is settled."""
        if self.has_succeeded(key):
            del self._succeeded[key.session_id]

    def close(self) -> None:
        """Settle at once what is left."""
        if self._later is not None:
            self._later.kill()
        self._settle()

    def _settle(self) -> None:
        while self._succeeded:
            keys = list(self._succeeded.values())[:AT_ONCE]
            self._settle_some(keys)
            for key in keys:
                self.forget(key)
        self._later = None

    def _settle_some(self, keys: Sequence[TurnKey]) -> None:
        try:
            self._settle_all(keys)
        except DatabaseUnavailable:  # whoever needs them does it, and else the sweeper
            logger.warning("%d turns were not settled yet: the database is away", len(keys))
        except Exception:  # what is wrong with one must not keep others from being settled, now or later
            logger.exception("%d turns could not be settled", len(keys))
