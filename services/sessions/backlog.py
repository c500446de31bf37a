"""Turns of this process that have succeeded and are not settled yet."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import gevent

from errors import DatabaseUnavailable
from services.sessions.lookup import TurnKey

logger = logging.getLogger(__name__)

KEPT_SECONDS = 0.2
AT_ONCE = 100


class Backlog:
    """Leaves a session's last turn to its next one, which settles it by the way, and settles others together later.

    It only saves work: whoever needs a turn settled settles it, whatever is known here.
    """

    def __init__(self, settle_all: Callable[[Sequence[TurnKey]], object]) -> None:
        self._settle_all = settle_all
        self._turns: dict[str, TurnKey] = {}  # by session: two of one session must not be settled together
        self._later: gevent.Greenlet[..., None] | None = None

    def add(self, key: TurnKey) -> None:
        """A prepared turn has succeeded, and there is nothing else to settle of it."""
        self._turns[key.session_id] = key
        if self._later is None:
            self._later = gevent.spawn_later(KEPT_SECONDS, self._settle)

    def has(self, key: TurnKey) -> bool:
        return self._turns.get(key.session_id) == key

    def remove(self, key: TurnKey) -> None:
        """It is settled; also for one that is not here."""
        if self.has(key):
            del self._turns[key.session_id]

    def close(self) -> None:
        """Settle at once what is left."""
        if self._later is not None:
            self._later.kill()
        self._settle()

    def _settle(self) -> None:
        while self._turns:
            keys = list(self._turns.values())[:AT_ONCE]
            self._settle_some(keys)
            for key in keys:
                self.remove(key)
        self._later = None

    def _settle_some(self, keys: Sequence[TurnKey]) -> None:
        try:
            self._settle_all(keys)
        except DatabaseUnavailable:  # whoever needs them does it, and else the sweeper
            logger.warning("%d turns were not settled yet: the database is away", len(keys))
        except Exception:  # what is wrong with one must not keep others from being settled, now or later
            logger.exception("%d turns could not be settled", len(keys))
