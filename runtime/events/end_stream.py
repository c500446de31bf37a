"""The announced ends as Redis keeps them: a stream for each bucket, and a consumer group for each observer."""

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
"""Of one bucket. Beyond it the oldest are cut off although an observer has not heard of them."""


class EndListener(Protocol):
    """Told in this process, and at once, of ends that this process has announced. Its methods never wait."""

    @property
    def is_there(self) -> bool:
        """Whether anybody has to hear of ends; else none are announced."""

    def announced(self, end: AnnouncedEnd) -> None:
        """Redis has this end."""


@dataclass(frozen=True, slots=True)
class EndEntry:
    """One announced end: the id of its entry, and a JSON text."""

    entry_id: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Tidied:
    """What became of the ends that nobody has acknowledged in time."""

    length: int
    taken: list[EndEntry]
    given_up: list[str]


class EndStream:
    """The announced ends, as one worker reads them. Its methods raise one of LINK_ERRORS, or ResponseError."""

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
        """The next ends of a bucket. They are this worker's until it acknowledges them."""
        return _entries(self._run("hear_ends", bucket, observer, self._worker, limit))

    def acknowledge(self, observer: str, bucket: int, entry_ids: Sequence[str]) -> None:
        """The observer has done what these ends call for."""
        self._ask("XACK", self._keys.ends(bucket), observer, *entry_ids)

    def tidy(
        self, observer: str, bucket: int, *, idle_seconds: float, away_seconds: float, limit: int, deliveries: int
    ) -> Tidied:
        """Take over ends that were not acknowledged for ``idle_seconds``, and cut off what everybody has acknowledged.

        What was delivered so many times is given up. Workers that were ``away_seconds`` are forgotten.
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
