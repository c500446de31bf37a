"""Leases as the reaper uses them: which have expired, by the clock of Redis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from runtime.events.keys import Keys
from runtime.events.pipelined_connection import Requests
from runtime.events.scripts import load_script

LOCK_MILLISECONDS = 1500
"""Longer than a reaper's pause, so that the holder keeps the lock, and short, because the holder may be killed."""


@dataclass(frozen=True, slots=True)
class ExpiredRuns:
    """The runs whose leases have expired, and the time of Redis in seconds."""

    now: float
    run_ids: list[str]


class Leases:
    """Reads the leases of all workers. Its methods raise one of LINK_ERRORS, or ResponseError."""

    def __init__(self, link: Requests, keys: Keys, *, worker: str) -> None:
        self._link = link
        self._keys = keys
        self._worker = worker

    @property
    def buckets(self) -> range:
        return self._keys.all_buckets

    def expired(self, bucket: int, *, limit: int, only_given_up: bool) -> ExpiredRuns:
        """Returns up to ``limit`` runs whose leases have expired, but none while another worker holds the lock.

        With ``only_given_up``, returns those whose worker is known to have ended, whoever holds the lock.
        """
        keys = (self._keys.leases(bucket), self._keys.reaper(bucket))
        text, which = load_script("expired_runs").text, "given up" if only_given_up else ""
        now, run_ids = self._ask("EVAL", text, len(keys), *keys, self._worker, LOCK_MILLISECONDS, limit, which)
        return ExpiredRuns(now / 1000, [run_id.decode() for run_id in run_ids])

    def remove(self, run_id: str) -> None:
        """Removes the lease of a run whose record no longer exists."""
        self._ask("ZREM", self._keys.leases(self._keys.bucket(run_id)), run_id)

    def _ask(self, *command: str | bytes | int) -> Any:
        answer = self._link.ask(command)[0]
        if isinstance(answer, ResponseError):
            raise answer
        return answer
