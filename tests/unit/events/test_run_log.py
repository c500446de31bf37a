"""The log of one run: what it queues, and what it makes of Redis' answers."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from redis.exceptions import ResponseError

from runtime.events.batch import TRIED_AGAIN, Meaning
from runtime.events.log_items import Append, End, LogItem, Touch
from runtime.events.run_log import MAX_PENDING_BYTES, EventBytesExceeded, LossReason
from runtime.events.store import EndOutcome
from runtime.protocol.events import Event, EventType
from tests.unit.events.run_logs import GatheredLog

REFUSAL = ResponseError("WRONGTYPE")


def taken(log: GatheredLog, meaning: Meaning, answer: Any = None) -> None:
    log.log.appended(cast(Append, log.items[-1]), meaning, answer)


def ids(items: list[LogItem]) -> list[str]:
    return [item.entry_id for item in items if isinstance(item, Append)]


def test_events_are_numbered_behind_the_first_one_which_is_stored_with_the_record() -> None:
    log = GatheredLog()

    assert ids(log.append(3)) == ["1-2", "1-3", "1-4"]
    assert log.items[0].command[:4] == ("XADD", log.log.stream, "NOMKSTREAM", "1-2")


def test_an_event_that_is_written_is_published_and_moves_the_cursor() -> None:
    log = GatheredLog()
    log.append()

    taken(log, Meaning.WRITTEN, b"1-2")

    assert (log.sink.published, log.log.cursor, log.losses) == (["1-2"], "1-2", [])


def test_an_event_is_not_published_when_nobody_watches() -> None:
    log = GatheredLog()
    log.sink.owned.clear()
    log.append()

    taken(log, Meaning.WRITTEN, b"1-2")

    assert (log.sink.published, log.log.cursor) == ([], "1-2")


@pytest.mark.parametrize(
    ("meaning", "disowned_at", "losses"),
    [
        (Meaning.REPEAT, ["1-1"], []),
        (Meaning.LOST, ["1-1"], [LossReason.STORAGE]),
        (Meaning.FENCED, [], [LossReason.FENCED]),
        (Meaning.GONE, [], [LossReason.STORAGE]),
        (Meaning.REFUSED, [], [LossReason.STORAGE]),
    ],
)
def test_what_an_event_that_is_not_written_means_for_its_run(
    meaning: Meaning, disowned_at: list[str], losses: list[LossReason]
) -> None:
    log = GatheredLog()
    log.append()

    taken(log, meaning, REFUSAL)

    assert (log.sink.published, log.log.cursor) == ([], "1-1")
    assert (log.sink.disowned_at, log.losses) == (disowned_at, losses)
    assert log.log.is_dropped is bool(losses)


def test_every_meaning_of_an_answer_to_an_event_is_tested_here() -> None:
    tested = {Meaning.WRITTEN, Meaning.REPEAT, Meaning.LOST, Meaning.FENCED, Meaning.GONE, Meaning.REFUSED}

    assert tested | set(TRIED_AGAIN) == set(Meaning)


def test_a_loss_is_reported_once_and_no_more_events_are_queued() -> None:
    log = GatheredLog()
    log.append()

    taken(log, Meaning.GONE)
    taken(log, Meaning.FENCED, REFUSAL)
    log.log.append(log.event)

    assert log.losses == [LossReason.STORAGE]
    assert len(log.items) == 1


def big(log: GatheredLog) -> Event:
    return Event(EventType.PYDANTIC_AI_EVENT, b"x" * MAX_PENDING_BYTES)


@pytest.mark.parametrize("meaning", [Meaning.WRITTEN, Meaning.REPEAT, Meaning.GONE])
def test_a_run_that_is_ahead_of_redis_has_room_again_once_its_event_was_answered(meaning: Meaning) -> None:
    async def wait(log: GatheredLog) -> None:
        waiting = asyncio.ensure_future(log.log.wait_for_room())
        await asyncio.sleep(0)
        assert not waiting.done()
        taken(log, meaning, b"1-2")
        await asyncio.wait_for(waiting, 10)

    log = GatheredLog()
    assert not log.log.is_full
    log.log.append(big(log))
    assert log.log.is_full

    asyncio.run(wait(log))

    assert not log.log.is_full


def test_a_run_that_is_dropped_waits_for_no_room() -> None:
    async def wait(log: GatheredLog) -> None:
        waiting = asyncio.ensure_future(log.log.wait_for_room())
        await asyncio.sleep(0)
        log.log.drop()
        await asyncio.wait_for(waiting, 10)
        await asyncio.wait_for(log.log.wait_for_room(), 10)

    log = GatheredLog()
    log.log.append(big(log))

    asyncio.run(wait(log))

    assert log.losses == []


def test_a_run_that_writes_too_much_is_refused() -> None:
    log = GatheredLog(max_bytes=MAX_PENDING_BYTES)

    with pytest.raises(EventBytesExceeded):
        log.log.append(big(log))

    assert log.items == []


def test_an_end_says_how_many_events_come_before_it_and_none_when_they_were_dropped() -> None:
    log, dropped = GatheredLog(), GatheredLog()
    for one in (log, dropped):
        one.append(2)
    dropped.log.drop()

    assert (length_of(log.end()), length_of(dropped.end())) == (3, 0)


def length_of(item: LogItem) -> Any:
    return item.command[-3]


@pytest.mark.parametrize(
    ("answer", "outcome", "published", "announced"),
    [
        ([b"ended", b"7-0", b"worker"], EndOutcome.ENDED, ["7-0"], 1),
        ([b"ended", b"7-0"], EndOutcome.ENDED, ["7-0"], 1),
        ([b"ended"], EndOutcome.ENDED, [], 1),
        ([b"lost", b"{}"], EndOutcome.LOST, [], 0),
        ([b"behind"], EndOutcome.BEHIND, [], 0),
        ([b"gone"], EndOutcome.GONE, [], 0),
        (REFUSAL, None, [], 0),
    ],
    ids=str,
)
def test_an_answer_to_an_end(answer: Any, outcome: EndOutcome | None, published: list[str], announced: int) -> None:
    log = GatheredLog()
    end = cast(End, log.end())

    log.log.ended(end, answer)

    assert end.done.get(timeout=0) is outcome
    assert log.sink.published == published
    assert [one.run_id for one in log.listener.ends] == [log.record.run_id] * announced


def test_an_end_without_an_observer_is_not_announced() -> None:
    log = GatheredLog()
    log.listener.is_there = False
    end = cast(End, log.end())

    log.log.ended(end, [b"ended", b"7-0", b""])

    assert (end.announced, end.command[-2], log.listener.ends) == (None, "", [])


def test_a_renewal_extends_the_record_and_the_events() -> None:
    log = GatheredLog()

    log.touch()

    assert [item.command for item in log.items if isinstance(item, Touch)] == [
        ("EXPIRE", f"test:runs:{log.record.run_id}:{kind}", 60) for kind in ("record", "events")
    ]
