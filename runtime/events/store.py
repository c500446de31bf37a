"""The run store: records and events of runs, as requests read and change them."""

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
"""Messages kept for a worker that does not read; each is small and soon stale."""


class EndOutcome(StrEnum):
    """What the end script found."""

    ENDED = "ended"
    LOST = "lost"
    LEASED = "leased"
    BEHIND = "behind"
    GONE = "gone"


class CreateOutcome(StrEnum):
    """What the create script found."""

    CREATED = "created"
    EXISTING = "existing"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long things live: what is stored from its last write on, and a lease from its last renewal on.

    A run in line is nobody's: its lease is as long as it may wait.
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
    """The arguments of the end script. ``event`` is ``end`` in the run's dialect."""
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


class RunStore:
    """Redis as requests use it: short commands, and StorageUnavailable when it does not answer."""

    def __init__(self, link: Requests, keys: Keys, lifetimes: Lifetimes, listener: EndListener) -> None:
        self._link = link
        self._keys = keys
        self._lifetimes = lifetimes
        self._listener = listener

    def ping(self) -> None:
        """Raises StorageUnavailable."""
        try:
            self._link.ping()
        except LINK_ERRORS as error:
            raise StorageUnavailable from error

    def create(
        self, record: RunRecord, started: Event | None, *, fingerprint: str = "", freed: str = ""
    ) -> tuple[CreateOutcome, str | None]:
        """Store a new run with its first event, or without it when it has to wait and begins later.

        ``fingerprint`` is of the request, for a record with an idempotency key, and ``freed`` the id of a run that is
        to hold that key no longer, because its record is gone or it has ended. Of several that want the key of one run
        the first gets it. Answers the outcome, with the id of the run that holds the key where there is one.
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
        """Make the worker of this record the owner of a run in line; False when the run is not, or no longer, there."""
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
        """The fingerprint and the record of the run that was made under an idempotency key, while both are there."""
        held: bytes | None = self._ask("GET", self._keys.idempotency(digest))
        if held is None:
            return None
        fingerprint, run_id = held.decode().split(" ")
        record = self.get(run_id)
        return (fingerprint, record) if record is not None else None

    def get(self, run_id: str) -> RunRecord | None:
        return _record(self._ask("GET", self._keys.record(run_id)))

    def get_with_page(self, run_id: str, *, after: str, limit: int) -> tuple[RunRecord | None, list[StreamEntry]]:
        """A record, and the first entries behind a cursor, in one round trip."""
        raw_record, raw_page = self._ask_all(
            ("GET", self._keys.record(run_id)), self._range(run_id, after=after, limit=limit)
        )
        return _record(raw_record), raw_entries(raw_page)

    def end(self, record: RunRecord, end: RunEnd, *, only_expired: bool = False) -> tuple[EndOutcome, RunRecord | None]:
        """End a run that this process does not own, or say who did.

        With ``only_expired`` the run goes on if its lease does. Answers the outcome, with the record as it was then
        where this or something else had ended the run.
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
        if outcome is EndOutcome.ENDED and len(answer) > 2:  # it may have got an owner since it was looked up
            return outcome, record.model_copy(update={"worker": answer[2].decode()})
        return outcome, None

    def page(self, run_id: str, *, after: str, limit: int) -> list[StreamEntry]:
        """Up to ``limit`` entries behind the cursor ``after``, which is in normal form."""
        return raw_entries(self._ask(*self._range(run_id, after=after, limit=limit)))

    def bounded_page(self, run_id: str, *, after: str, limit: int, max_bytes: int) -> list[StreamEntry]:
        """As ``page``, and no more than so many bytes, unless the first entry alone has more."""
        start = "+" if after == GREATEST else f"({after}"
        return raw_entries(self._run_script("page_events", [self._keys.events(run_id)], [start, limit, max_bytes]))

    def last_cursor(self, run_id: str) -> str | None:
        """The id of the last entry; None when the stream is gone."""
        raw = self._ask("XREVRANGE", self._keys.events(run_id), "+", "-", "COUNT", 1)
        return raw[0][0].decode() if raw else None

    def has_events(self, run_id: str) -> bool:
        return bool(self._ask("EXISTS", self._keys.events(run_id)))

    def is_awaited(self, run_id: str) -> bool:
        """Whether a run whose stream is not there may still begin one."""
        record = self.get(run_id)
        return record is not None and record.phase is Phase.WAITING

    def tell_worker(self, worker: str, message: str, run_id: str) -> None:
        """Leave a message in a worker's control stream."""
        key = self._keys.control(worker)
        self._ask_all(
            ("XADD", key, "MAXLEN", "~", CONTROL_LENGTH, "*", "type", message, "payload", run_id),
            ("EXPIRE", key, CONTROL_LIFETIME_SECONDS),
        )

    def _range(self, run_id: str, *, after: str, limit: int) -> Command:
        # Nothing is behind the greatest cursor, and Redis refuses to be asked.
        start = "+" if after == GREATEST else f"({after}"
        return ("XRANGE", self._keys.events(run_id), start, "+", "COUNT", limit)

    def _run_script(self, name: str, keys: list[str], arguments: list[Any]) -> Any:
        script = load_script(name)
        try:
            return self._ask("EVALSHA", script.sha, len(keys), *keys, *arguments)
        except NoScriptError:
            return self._ask("EVAL", script.text, len(keys), *keys, *arguments)

    def _ask(self, *command: str | bytes | int) -> Any:
        return self._ask_all(command)[0]

    def _ask_all(self, *commands: Command) -> list[Any]:
        return ask_all(self._link, *commands)


def ask_all(link: Requests, *commands: Command) -> list[Any]:
    """The answers in order. Raises StorageUnavailable, or NoScriptError."""
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


def _record(raw: bytes | None) -> RunRecord | None:
    return None if raw is None else RunRecord.model_validate_json(raw)
