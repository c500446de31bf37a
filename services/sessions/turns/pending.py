"""Pending finalizations: turns that have succeeded and are not yet part of their sessions."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import gevent

from errors import DatabaseUnavailable, StorageUnavailable
from runtime.protocol.records import RunStatus
from runtime.runs import TURN, AnnouncedEnd
from services.sessions.lookup import TurnKey

logger = logging.getLogger(__name__)

KEPT_SECONDS = 0.2
AT_ONCE = 100
MOST_KNOWN = 2000
CLOSE_SECONDS = 1.0
"""How long what is left may take at the end of the process."""


class FinalizesTurns(Protocol):
    """What finalizes turns."""

    def finalize_successes(self, keys: list[TurnKey]) -> set[str]: ...

    def finalize(self, key: TurnKey) -> bool: ...


class PendingFinalizations:
    """Leaves a session's last turn to its next one, which finalizes it by the way, and finalizes others together later.

    It only saves work. Each turn has an end that stays unacknowledged until it is finalized: were this process lost,
    another one would hear of it.
    """

    def __init__(self, finalizer: FinalizesTurns) -> None:
        self._finalizer = finalizer
        self._succeeded: dict[str, None] = {}
        """Ids of runs that this process has seen to succeed, the oldest first."""
        self._turns: dict[str, tuple[TurnKey, Callable[[], None]]] = {}
        """By session: two of one session must not be finalized together."""
        self._later: gevent.Greenlet[..., None] | None = None

    def note(self, end: AnnouncedEnd) -> None:
        """A run of this process has ended."""
        if end.origin.kind == TURN and end.status == RunStatus.SUCCEEDED:
            self._succeeded[end.run_id] = None
            while len(self._succeeded) > MOST_KNOWN:
                del self._succeeded[next(iter(self._succeeded))]

    def has(self, key: TurnKey) -> bool:
        """Whether the turn's run is known to have succeeded."""
        return key.run_id in self._succeeded

    def add(self, key: TurnKey, acknowledge: Callable[[], None]) -> None:
        """A prepared turn has succeeded, and there is nothing else to do for it."""
        earlier, self._turns[key.session_id] = self._turns.get(key.session_id), (key, acknowledge)
        if earlier is not None and earlier[0] != key:  # it was finalized before this one began
            earlier[1]()
        if self._later is None:
            self._later = gevent.spawn_later(KEPT_SECONDS, self._finalize)

    def remove(self, key: TurnKey) -> None:
        """It is finalized; also for one that is not here."""
        self._succeeded.pop(key.run_id, None)
        known = self._turns.get(key.session_id)
        if known is not None and known[0] == key:
            del self._turns[key.session_id]
            known[1]()

    def close(self) -> None:
        """Finalize at once what is left, if that does not take long."""
        if self._later is not None:
            self._later.kill()
        gevent.with_timeout(CLOSE_SECONDS, self._finalize, timeout_value=None)

    def _finalize(self) -> None:
        try:
            while self._turns:
                keys = [key for key, _ in list(self._turns.values())[:AT_ONCE]]
                done = self._finalize_some(keys)
                for key in keys:
                    if key.turn_id in done:
                        self.remove(key)
                    else:
                        self._forget(key)
        finally:
            self._later = None

    def _finalize_some(self, keys: list[TurnKey]) -> set[str]:
        """The ids of the turns that are finalized. This process hears of the others again."""
        done: set[str] = set()
        try:
            done |= self._finalizer.finalize_successes(keys)
            for key in keys:
                # Its session is busy, or somebody has marked it; or the next turn has taken it over meanwhile.
                if key.turn_id not in done and self._is_here(key) and self._finalizer.finalize(key):
                    done.add(key.turn_id)
        except (DatabaseUnavailable, StorageUnavailable):
            logger.warning("some of %d turns were not finalized yet: the storage is away", len(keys))
        except Exception:  # what is wrong with one must not keep others from being finalized, now or later
            logger.exception("some of %d turns could not be finalized", len(keys))
        return done

    def _is_here(self, key: TurnKey) -> bool:
        known = self._turns.get(key.session_id)
        return known is not None and known[0] == key

    def _forget(self, key: TurnKey) -> None:
        if self._is_here(key):
            del self._turns[key.session_id]
