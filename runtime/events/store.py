"""The run store: records and events of runs, as requests read and change them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError
from redis.exceptions import TimeoutError as RedisTimeoutError

from errors import StorageUnavailable
from runtime.events.entries import StreamEntry, entry_of
from runtime.events.keys import Keys
from runtime.events.scripts import Script, load_script
from runtime.protocol.cursors import GREATEST
from runtime.protocol.events import Event, EventEncoder, RunEnd, ended_record
from runtime.protocol.ids import new_id
from runtime.protocol.records import RunRecord

FIRST_EVENT_ID = "1-1"
CONTROL_LIFETIME_SECONDS = 60
CONTROL_LENGTH = 10_000
"""Messages kept for a worker that does not read; each is small and soon stale."""


class EndOutcome(StrEnum):
    """What the end script found."""

    ENDED = "ended"
    LOST = "lost"
    GONE = "gone"


def end_arguments(record: RunRecord, end: RunEnd, *, token: str, retention_seconds: int) -> list[str | bytes | int]:
    """The arguments of the end script, in the run's dialect."""
    event = EventEncoder(record.run_id, record.dialect).ended(end)
    ended = ended_record(record, end, token)
    return [ended.model_dump_json(), token, event.type, event.payload, retention_seconds]


class RunStore:
    """Redis as requests use it: short commands, and StorageUnavailable when it does not answer."""

    def __init__(self, client: redis.Redis, keys: Keys, *, retention_seconds: int) -> None:
        self._client = client
        self._keys = keys
        self._retention = retention_seconds

    def ping(self) -> None:
        with _unavailable_as_503():
            self._client.ping()

    def create(self, record: RunRecord, started: Event) -> None:
        """Store a new run with its first event."""
        self._run_script(
            "create_run",
            record.run_id,
            [record.model_dump_json(), FIRST_EVENT_ID, started.type, started.payload, self._retention],
        )

    def get(self, run_id: str) -> RunRecord | None:
        with _unavailable_as_503():
            raw: Any = self._client.get(self._keys.record(run_id))
        return None if raw is None else RunRecord.model_validate_json(raw)

    def end(self, record: RunRecord, end: RunEnd) -> tuple[EndOutcome, RunRecord | None]:
        """End a run that this process does not own, or says so who did.

        Answers the outcome, with the current record where something else had ended the run.
        """
        arguments = end_arguments(record, end, token=new_id(), retention_seconds=self._retention)
        answer = self._run_script("end_run", record.run_id, arguments)
        outcome = EndOutcome(answer[0].decode())
        current = RunRecord.model_validate_json(answer[1]) if outcome is EndOutcome.LOST else None
        return outcome, current

    def page(self, run_id: str, *, after: str, limit: int) -> list[StreamEntry]:
        """Up to ``limit`` entries behind the cursor ``after``, which is in normal form."""
        if after == GREATEST:
            return []
        with _unavailable_as_503():
            raw: Any = self._client.xrange(self._keys.events(run_id), min=f"({after}", count=limit)
        return [entry_of(cursor, fields) for cursor, fields in raw]

    def last_cursor(self, run_id: str) -> str | None:
        """The id of the last entry; None when the stream is gone."""
        with _unavailable_as_503():
            raw: Any = self._client.xrevrange(self._keys.events(run_id), count=1)
        return raw[0][0].decode() if raw else None

    def has_events(self, run_id: str) -> bool:
        with _unavailable_as_503():
            return bool(self._client.exists(self._keys.events(run_id)))

    def tell_worker(self, worker: str, message: str, run_id: str) -> None:
        """Leave a message in a worker's control stream."""
        key = self._keys.control(worker)
        with _unavailable_as_503():
            pipeline = self._client.pipeline(transaction=False)
            pipeline.xadd(key, {"type": message, "payload": run_id}, maxlen=CONTROL_LENGTH, approximate=True)
            pipeline.expire(key, CONTROL_LIFETIME_SECONDS)
            pipeline.execute()

    def unblock(self, connection_id: int) -> None:
        """Let a blocking read on another connection return at once, if it blocks."""
        with _unavailable_as_503():
            self._client.client_unblock(connection_id)

    def close(self) -> None:
        self._client.close()

    def _run_script(self, name: str, run_id: str, arguments: list[Any]) -> Any:
        script: Script = load_script(name)
        keys = [self._keys.record(run_id), self._keys.events(run_id)]
        with _unavailable_as_503():
            try:
                return self._client.evalsha(script.sha, 2, *keys, *arguments)
            except NoScriptError:
                return self._client.eval(script.text, 2, *keys, *arguments)


@contextmanager
def _unavailable_as_503() -> Iterator[None]:
    try:
        yield
    except (RedisConnectionError, RedisTimeoutError, OutOfMemoryError, ReadOnlyError) as error:
        raise StorageUnavailable from error
