"""The announced ends in Redis: a stream for each bucket, and a consumer group for each observer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from redis.exceptions import ResponseError

from runtime.events.keys import Keys
from runtime.events.pipelined_connection import Requests
from runtime.events.scripts import load_script
from runtime.protocol.announcements import AnnouncedEnd

MOST_ENDS = 100_000
"""The most ends of one bucket. Beyond it the oldest are trimmed, even if an observer has not received them."""


class EndListener(Protocol):
    """Notified at once, in this process, of ends that this process has announced. Its methods never block."""

    @property
    def is_there(self) -> bool:
        """Whether there are any observers; without them no ends are announced."""

    def announced(self, end: AnnouncedEnd) -> None:
        """Called when Redis has stored this end."""


@dataclass(frozen=True, slots=True)
class EndEntry:
    """One announced end: the id of its entry, and its JSON."""

    entry_id: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Tidied:
    """The outcome of ``tidy`` for ends that were not acknowledged in time, with the length of the remaining stream."""

    length: int
    taken: list[EndEntry]
    given_up: list[str]


class EndStream:
    """The announced ends as one worker reads them. Its methods raise one of LINK_ERRORS, or ResponseError."""

    def __init__(self, link: Requests, keys: Keys, *, worker: str) -> None:
        self._link = link
        self._keys = keys
        self._worker = worker

    @property
    def buckets(self) -> range:
        return self._keys.all_buckets

    def bucket(self, run_id: str) -> int:
        return self._keys.bucket(run_id)

    def read(self, observer: str, bucket: int, *, limit: int) -> list[EndEntry]:
        """Returns the next ends of a bucket. They stay assigned to this worker until it acknowledges them."""
        return _entries(self._run("hear_ends", bucket, observer, self._worker, limit))

    def acknowledge(self, observer: str, bucket: int, entry_ids: Sequence[str]) -> None:
        """Notes that the observer has handled these ends."""
        self._ask("XACK", self._keys.ends(bucket), observer, *entry_ids)

    def tidy(
        self, observer: str, bucket: int, *, idle_seconds: float, away_seconds: float, limit: int, deliveries: int
    ) -> Tidied:
        """Takes over ends left unacknowledged for ``idle_seconds``, and trims those that all observers acknowledged.

        Ends that were delivered ``deliveries`` times are given up. Workers that were away for ``away_seconds`` are
        forgotten.
        """
        times = (round(idle_seconds * 1000), round(away_seconds * 1000))
        length, taken, given_up = self._run("tidy_ends", bucket, observer, self._worker, *times, limit, deliveries)
        return Tidied(length, _entries(taken), [entry_id.decode() for entry_id in given_up])

    def _run(self, script: str, bucket: int, *arguments: str | int) -> Any:
        return self._ask("EVAL", load_script(script).text, 1, self._keys.ends(bucket), *arguments)

    def _ask(self, *command: str | bytes | int) -> Any:
        answer = self._link.ask(command)[0]
        if isinstance(answer, ResponseError):
            raise answer
        return answer


def _entries(raw: Sequence[tuple[bytes, Sequence[bytes]]]) -> list[EndEntry]:
    return [EndEntry(entry_id.decode(), values[1]) for entry_id, values in raw]
