"""Turns of this process that have succeeded and are not settled yet."""

from __future__ import annotations

import logging
from typing import Protocol

import gevent

from errors import DatabaseUnavailable, StorageUnavailable
from services.sessions.lookup import TurnKey

logger = logging.getLogger(__name__)

KEPT_SECONDS = 0.2
AT_ONCE = 100
CLOSE_SECONDS = 1.0
"""How long what is left may take at the end of the process."""


class SettlesTurns(Protocol):
    """What a backlog needs of the settler."""

    def settle_successes(self, keys: list[TurnKey]) -> set[str]: ...

    def settle(self, key: TurnKey) -> bool: ...


class Backlog:
    """Leaves a session's last turn to its next one, which settles it by the way, and settles others together later.

    It only saves work: whoever needs a turn settled settles it, whatever is known here.
    """

    def __init__(self, settler: SettlesTurns) -> None:
        self._settler = settler
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
        """Settle at once what is left, if that does not take long."""
        if self._later is not None:
            self._later.kill()
        gevent.with_timeout(CLOSE_SECONDS, self._settle, timeout_value=None)

    def _settle(self) -> None:
        try:
            while self._turns:
                keys = list(self._turns.values())[:AT_ONCE]
                self._settle_some(keys)
                for key in keys:
                    self.remove(key)
        finally:
            self._later = None

    def _settle_some(self, keys: list[TurnKey]) -> None:
        try:
            settled = self._settler.settle_successes(keys)
            for key in keys:
                if key.turn_id not in settled and self.has(key):  # its session is busy, or somebody has marked it
                    self._settler.settle(key)
        except (DatabaseUnavailable, StorageUnavailable):  # whoever needs them does it, and else the sweeper
            logger.warning("some of %d turns were not settled yet: the storage is away", len(keys))
        except Exception:  # what is wrong with one must not keep others from being settled, now or later
            logger.exception("some of %d turns could not be settled", len(keys))
