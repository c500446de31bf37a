"""The run store: reads and changes the records and events of runs, for requests."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

from errors import StorageUnavailable
from runtime.events.connections import LINK_ERRORS, Command, is_passing
from runtime.events.end_stream import MOST_ENDS, EndListener
from runtime.events.entries import StreamEntry, raw_entries
from runtime.events.keys import Keys
from runtime.events.pipelined_connection import Requests
from runtime.events.scripts import load_script
from runtime.protocol.announcements import AnnouncedEnd
from runtime.protocol.cursors import GREATEST
from runtime.protocol.events import Event, EventEncoder, RunEnd, ended_record
from runtime.protocol.ids import new_id
from runtime.protocol.phases import Phase
from runtime.protocol.records import NOBODY, RunRecord

logger = logging.getLogger(__name__)

FIRST_EVENT_ID = "1-1"
FEED_LENGTH = 10_000
CONTROL_LIFETIME_SECONDS = 60
CONTROL_LENGTH = 10_000
"""The most messages kept for a worker that does not read them; each is small and soon out of date."""


class EndOutcome(StrEnum):
    """The outcome of the end script."""

    ENDED = "ended"
    LOST = "lost"
    LEASED = "leased"
    BEHIND = "behind"
    GONE = "gone"


class CreateOutcome(StrEnum):
    """The outcome of the create script."""

    CREATED = "created"
    EXISTING = "existing"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Lifetimes: of stored data since its last write, and of a lease since its last renewal.

    A run in line has no owner to renew its lease, so that lease lasts as long as the run may wait.
    """

    retention_seconds: int
    lease_seconds: float
    wait_seconds: float


def end_arguments(
    record: RunRecord,
    end: RunEnd,
    event: Event,
    *,
    token: str,
    retention_seconds: int,
    announced: AnnouncedEnd | None,
    only_expired: bool = False,
    length: int = 0,
) -> list[str | bytes | int]:
    """Returns the arguments of the end script. ``event`` is ``end`` in the run's dialect."""
    ended = ended_record(record, end, token)
    return [
        ended.model_dump_json(),
        token,
        event.type,
        event.payload,
        retention_seconds,
        record.run_id,
        FEED_LENGTH,
        ended.as_feed_payload(),
        "expired" if only_expired else "",
        length,
        announced.model_dump_json() if announced else "",
        MOST_ENDS,
    ]


FIRST_OF_BOUNDED_PAGE = 16
"""How many entries are asked for before it is known how large they are."""


class RunStore:
    """Redis for requests: short commands, and StorageUnavailable when it does not answer."""

    def __init__(self, link: Requests, keys: Keys, lifetimes: Lifetimes, listener: EndListener) -> None:
        self._link = link
        self._keys = keys
        self._lifetimes = lifetimes
        self._listener = listener

    def ping(self) -> None:
        """Checks that Redis answers. Raises StorageUnavailable."""
        try:
            self._link.ping()
        except LINK_ERRORS as error:
            raise StorageUnavailable from error

    def create(
        self, record: RunRecord, started: Event | None, *, fingerprint: str = "", freed: str = ""
    ) -> tuple[CreateOutcome, str | None]:
        """Stores a new run with its first event, or without it if the run must wait and begins later.

        ``fingerprint`` is the request's, for a record with an idempotency key. ``freed`` is the id of a run that must
        give up that key, because its record is gone or it has ended. If several requests want the key of one run, the
        first gets it. Returns the outcome, and the id of the run that holds the key if there is one.
        """
        lease, retention = self._lifetimes.lease_seconds, self._lifetimes.retention_seconds
        if record.is_in_line:
            lease = self._lifetimes.wait_seconds
            retention += math.ceil(lease)
        answer = self._run_script(
            "create_run",
            self._keys.of_run(record.run_id, record.idempotency_digest),
            [
                record.model_dump_json(),
                FIRST_EVENT_ID,
                started.type if started else "",
                started.payload if started else "",
                retention,
                record.run_id,
                round(lease * 1000),
                FEED_LENGTH,
                record.as_feed_payload(),
                fingerprint,
                freed,
            ],
        )
        outcome = CreateOutcome(answer[0].decode())
        return outcome, answer[1].decode() if len(answer) > 1 else None

    def claim(self, record: RunRecord) -> bool:
        """Makes the worker of this record the owner of a run in line. Returns False if it no longer is in line."""
        return bool(
            self._run_script(
                "claim_run",
                self._keys.of_run(record.run_id),
                [
                    record.model_dump_json(),
                    record.worker,
                    record.run_id,
                    round(self._lifetimes.lease_seconds * 1000),
                    self._lifetimes.retention_seconds,
                    NOBODY,
                ],
            )
        )

    def find_by_key(self, digest: str) -> tuple[str, RunRecord] | None:
        """Returns the fingerprint and the record of the run made under an idempotency key, while both exist."""
        held: bytes | None = self._ask("GET", self._keys.idempotency(digest))
        if held is None:
            return None
        fingerprint, run_id = held.decode().split(" ")
        record = self.get(run_id)
        return (fingerprint, record) if record is not None else None

    def get(self, run_id: str) -> RunRecord | None:
        return _record(self._ask("GET", self._keys.record(run_id)))

    def get_with_page(self, run_id: str, *, after: str, limit: int) -> tuple[RunRecord | None, list[StreamEntry]]:
        """Returns a record and the first entries after a cursor, in one round trip."""
        raw_record, raw_page = self._ask_all(
            ("GET", self._keys.record(run_id)), self._range(run_id, after=after, limit=limit)
        )
        return _record(raw_record), raw_entries(raw_page)

    def end(self, record: RunRecord, end: RunEnd, *, only_expired: bool = False) -> tuple[EndOutcome, RunRecord | None]:
        """Ends a run that this process does not own, unless it has ended already.

        With ``only_expired`` the run is ended only if its lease has expired. Returns the outcome. If this call or
        something else has ended the run, it also returns the record as it was then.
        """
        announced = AnnouncedEnd.of(record, end) if self._listener.is_there else None
        arguments = end_arguments(
            record,
            end,
            EventEncoder(record.run_id, record.dialect).ended(end),
            token=new_id(),
            retention_seconds=self._lifetimes.retention_seconds,
            announced=announced,
            only_expired=only_expired,
        )
        keys = self._keys.of_end(record.run_id, record.idempotency_digest)
        answer = self._run_script("end_run", keys, arguments)
        outcome = EndOutcome(answer[0].decode())
        if outcome is EndOutcome.ENDED and announced is not None:
            self._listener.announced(announced)
        if outcome is EndOutcome.LOST:
            return outcome, RunRecord.model_validate_json(answer[1])
        if outcome is EndOutcome.ENDED and len(answer) > 2:  # a worker may have claimed it since it was read
            return outcome, record.model_copy(update={"worker": answer[2].decode()})
        return outcome, None

    def page(self, run_id: str, *, after: str, limit: int) -> list[StreamEntry]:
        """Returns up to ``limit`` entries after the cursor ``after``, which is in normal form."""
        return raw_entries(self._ask(*self._range(run_id, after=after, limit=limit)))

    def bounded_page(self, run_id: str, *, after: str, limit: int, max_bytes: int) -> list[StreamEntry]:
        """Returns the same as ``page``, but no more than so many bytes unless the first entry alone has more.

        Redis can only be given a number of entries, so it is asked for few, and then for as many more as should fit.
        """
        page: list[StreamEntry] = []
        size, wanted = 0, FIRST_OF_BOUNDED_PAGE
        while len(page) < limit:
            wanted = min(wanted, limit - len(page))
            found = self.page(run_id, after=page[-1].cursor if page else after, limit=wanted)
            for entry in found:
                size += len(entry.payload)
                if page and size > max_bytes:
                    return page
                page.append(entry)
            if len(found) < wanted:
                break
            wanted = max(1, (max_bytes - size) * len(page) // max(1, size))
        return page

    def last_cursor(self, run_id: str) -> str | None:
        """Returns the id of the last entry; None when the stream is gone."""
        raw = self._ask("XREVRANGE", self._keys.events(run_id), "+", "-", "COUNT", 1)
        return raw[0][0].decode() if raw else None

    def has_events(self, run_id: str) -> bool:
        return bool(self._ask("EXISTS", self._keys.events(run_id)))

    def is_awaited(self, run_id: str) -> bool:
        """Returns whether a run without a stream may still begin one."""
        record = self.get(run_id)
        return record is not None and record.phase is Phase.WAITING

    def tell_worker(self, worker: str, message: str, run_id: str) -> None:
        """Adds a message to a worker's control stream."""
        key = self._keys.control(worker)
        self._ask_all(
            ("XADD", key, "MAXLEN", "~", CONTROL_LENGTH, "*", "type", message, "payload", run_id),
            ("EXPIRE", key, CONTROL_LIFETIME_SECONDS),
        )

    def _range(self, run_id: str, *, after: str, limit: int) -> Command:
        # Nothing can follow the greatest cursor, and Redis refuses to read after it.
        start = "+" if after == GREATEST else f"({after}"
        return ("XRANGE", self._keys.events(run_id), start, "+", "COUNT", limit)

    def _run_script(self, name: str, keys: list[str], arguments: list[Any]) -> Any:
        return run_script(self._link, name, keys, arguments)

    def _ask(self, *command: str | bytes | int) -> Any:
        return self._ask_all(command)[0]

    def _ask_all(self, *commands: Command) -> list[Any]:
        return ask_all(self._link, *commands)


def ask_all(link: Requests, *commands: Command) -> list[Any]:
    """Returns the answers in order. Raises StorageUnavailable, or NoScriptError."""
    try:
        answers = link.ask(*commands)
    except LINK_ERRORS as error:
        raise StorageUnavailable from error
    for answer in answers:
        if isinstance(answer, NoScriptError):
            raise answer
        if isinstance(answer, ResponseError):
            if not is_passing(answer):
                logger.error("Redis refused a command: %s", answer)
            raise StorageUnavailable from answer
    return answers


def run_script(link: Requests, name: str, keys: list[str], arguments: list[Any]) -> Any:
    """Runs one of our scripts and returns its answer. Raises StorageUnavailable."""
    script = load_script(name)
    try:
        return ask_all(link, ("EVALSHA", script.sha, len(keys), *keys, *arguments))[0]
    except NoScriptError:
        return ask_all(link, ("EVAL", script.text, len(keys), *keys, *arguments))[0]


def _record(raw: bytes | None) -> RunRecord | None:
    return None if raw is None else RunRecord.model_validate_json(raw)
