"""The event log of a worker, over a link that answers by script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, ResponseError, TryAgainError

from runtime.events.connections import Command
from runtime.events.log import MAX_ITEMS_BEFORE_ABANDONED, EventLog
from runtime.events.run_log import MAX_PENDING_BYTES, LossReason, RunLog
from runtime.events.store import EndOutcome
from runtime.protocol.dialects import Dialect
from runtime.protocol.events import Event, EventEncoder, EventType
from runtime.protocol.ids import new_id
from runtime.protocol.records import RunRecord
from tests.unit.events.run_logs import KEYS, SUCCEEDED, Listener, Sink

FLUSH_SECONDS = 10.0
FULL = OutOfMemoryError("OOM command not allowed")
MOVING = TryAgainError("TRYAGAIN")
SMALLER = ResponseError("The ID specified in XADD is equal or smaller than the target stream top item")
ENDED = [b"ended", b"9-0", b"worker"]
AWAY = RedisConnectionError("away")

Answers = Sequence[Any] | Exception


class ScriptedLink:
    """Answers each batch as it is told, and all later ones as a Redis that takes everything."""

    def __init__(self) -> None:
        self.is_open = False
        self.opened = 0
        self.batches: list[list[str]] = []
        self.script: list[Answers] = []

    def open(self) -> None:
        self.is_open = True
        self.opened += 1

    def close(self) -> None:
        self.is_open = False

    def call(self, *command: str | bytes | int) -> Any:
        raise NotImplementedError

    def call_all(self, commands: Sequence[Command]) -> list[Any]:
        self.batches.append([name(command) for command in commands])
        answers = self.script.pop(0) if self.script else [taken(command) for command in commands]
        if isinstance(answers, Exception):
            raise answers
        return list(answers)


def name(command: Command) -> str:
    """The id of an event, ``end`` or ``touch``."""
    kind = command[0]
    return {"EVALSHA": "end", "EXPIRE": "touch"}.get(str(kind)) or str(command[3])


def taken(command: Command) -> Any:
    return {"end": ENDED, "touch": 1}.get(name(command)) or name(command).encode()


class Worker:
    def __init__(self) -> None:
        self.link, self.sink = ScriptedLink(), Sink()
        self.log = EventLog(self.link, KEYS, self.sink, Listener(), retention_seconds=3600, max_run_bytes=1_000_000)

    def run(self) -> RunLog:
        return self.log.open_run(record())

    def write(self, *script: Answers) -> list[list[str]]:
        """What goes out until nothing waits, when the first batches are answered so."""
        self.link.script = list(script)
        self.log.start()
        assert self.log.flush(FLUSH_SECONDS)
        return self.link.batches


def record() -> RunRecord:
    return RunRecord.begin(new_id(), dialect=Dialect.CURRENT, worker="worker")


def append(run_log: RunLog, count: int = 1) -> None:
    for _ in range(count):
        run_log.append(EventEncoder(run_log.run_id, Dialect.CURRENT).started())


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.log.close()


def losses(run_log: RunLog) -> list[LossReason]:
    found: list[LossReason] = []
    run_log.on_loss = found.append
    return found


def test_queued_items_are_written_together(worker: Worker) -> None:
    one, other = worker.run(), worker.run()
    append(one, 2)
    append(other)
    end = one.end(SUCCEEDED)

    assert worker.write() == [["1-2", "1-3", "1-2", "end"]]
    assert end.get(timeout=0) is EndOutcome.ENDED
    assert worker.sink.published == ["1-2", "1-3", "1-2", "9-0"]


def test_items_refused_for_now_are_retried_in_order_one_item_per_run(worker: Worker) -> None:
    one, other = worker.run(), worker.run()
    lost = losses(one)
    append(one, 2)
    append(other)
    end = one.end(SUCCEEDED)

    batches = worker.write([FULL, FULL, b"1-2", [b"behind"]], [FULL])

    assert batches == [["1-2", "1-3", "1-2", "end"], ["1-2"], ["1-2"], ["1-3"], ["end"]]
    assert (lost, end.get(timeout=0)) == ([], EndOutcome.ENDED)


def test_only_items_whose_slot_moves_are_retried(worker: Worker) -> None:
    one, other = worker.run(), worker.run()
    append(one, 2)
    append(other, 2)

    assert worker.write([MOVING, MOVING, b"1-2", b"1-3"]) == [["1-2", "1-3", "1-2", "1-3"], ["1-2", "1-3"]]


def test_a_run_of_which_redis_takes_an_event_behind_a_refused_one_is_lost(worker: Worker) -> None:
    one = worker.run()
    lost = losses(one)
    append(one, 2)

    batches = worker.write([FULL, b"1-3"])

    assert (batches, lost) == ([["1-2", "1-3"]], [LossReason.STORAGE])
    assert worker.sink.disowned_at == ["1-1"]


def test_a_batch_whose_answer_is_lost_is_sent_again_and_may_have_been_written(worker: Worker) -> None:
    one = worker.run()
    lost = losses(one)
    append(one, 2)

    batches = worker.write(AWAY, [SMALLER, b"1-3"])

    assert batches == [["1-2", "1-3"]] * 2
    assert (lost, worker.link.opened) == ([], 2)
    assert worker.sink.disowned_at == ["1-1"]


def test_an_event_that_was_sent_twice_and_then_refused_may_still_have_been_written(worker: Worker) -> None:
    one = worker.run()
    lost = losses(one)
    append(one)

    worker.write(AWAY, [FULL], [SMALLER])

    assert (lost, worker.sink.disowned_at) == ([], ["1-1"])


def test_an_event_that_was_sent_once_and_is_behind_the_end_was_fenced(worker: Worker) -> None:
    one = worker.run()
    lost = losses(one)
    append(one)

    worker.write([SMALLER])

    assert lost == [LossReason.FENCED]


def test_a_forgotten_script_is_loaded_on_a_new_connection(worker: Worker) -> None:
    one, other = worker.run(), worker.run()
    end = one.end(SUCCEEDED)
    append(other)

    assert worker.write([NoScriptError("NOSCRIPT"), b"1-2"]) == [["end", "1-2"], ["end"]]
    assert (worker.link.opened, end.get(timeout=0)) == (2, EndOutcome.ENDED)


@pytest.mark.parametrize(("refusal", "opened"), [(ReadOnlyError("READONLY replica"), 2), (FULL, 1)], ids=str)
def test_a_replica_is_left_for_the_master(worker: Worker, refusal: ResponseError, opened: int) -> None:
    append(worker.run())

    assert worker.write([refusal]) == [["1-2"]] * 2
    assert worker.link.opened == opened


def test_after_a_full_redis_batches_are_whole_again(worker: Worker) -> None:
    one = worker.run()
    append(one, 2)
    worker.write([FULL, FULL])
    worker.link.batches.clear()

    append(one, 2)
    assert worker.log.flush(FLUSH_SECONDS)

    assert worker.link.batches == [["1-4", "1-5"]]


def test_events_of_a_dropped_run_are_not_written_and_its_end_is(worker: Worker) -> None:
    one = worker.run()
    one.append(Event(EventType.PYDANTIC_AI_EVENT, b"x" * MAX_PENDING_BYTES))
    append(one)
    one.drop()
    one.end(SUCCEEDED)
    assert one.is_full

    assert worker.write() == [["end"]]
    assert not one.is_full


def test_one_runs_trouble_keeps_no_other_from_being_written(worker: Worker) -> None:
    def fail(_: LossReason) -> None:
        raise RuntimeError("this run's owner is broken")

    one, other = worker.run(), worker.run()
    one.on_loss = fail
    append(one)
    end = other.end(SUCCEEDED)

    worker.write([None, ENDED])

    assert end.get(timeout=0) is EndOutcome.ENDED


@pytest.mark.parametrize("script", [[[ResponseError("WRONGTYPE")] * 2], [[1, 1]]], ids=["refused", "done"])
def test_a_renewal_is_sent_once_however_it_is_answered(worker: Worker, script: list[Answers]) -> None:
    worker.run().touch()

    assert worker.write(*script) == [["touch", "touch"]]


def test_a_run_that_may_not_exist_is_ended_unless_much_waits(worker: Worker) -> None:
    worker.log.abandon(record(), SUCCEEDED)
    for _ in range(MAX_ITEMS_BEFORE_ABANDONED):
        worker.log.abandon(record(), SUCCEEDED)

    assert sum(map(len, worker.write())) == MAX_ITEMS_BEFORE_ABANDONED


def test_a_run_is_owned_from_its_opening_to_its_closing(worker: Worker) -> None:
    one = worker.run()

    assert worker.sink.is_watched(one.stream)

    worker.log.close_run(one)

    assert not worker.sink.is_watched(one.stream)
