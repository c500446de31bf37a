"""What is written in one batch, and what Redis' answers to it mean."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from redis.exceptions import (
    ClusterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from runtime.events.batch import MAX_BATCH_ITEMS, PASSING, TRIED_AGAIN, Meaning, read_answers, take_batch
from runtime.events.log_items import LogItem
from tests.unit.events.run_logs import GatheredLog

SMALLER = ResponseError("The ID specified in XADD is equal or smaller than the target stream top item")
FULL = OutOfMemoryError("OOM command not allowed when used memory > 'maxmemory'.")
READ_ONLY = ReadOnlyError("READONLY You can't write against a read only replica.")
MOVING = TryAgainError("TRYAGAIN Multiple keys request during rehashing of slot")
WRONG = ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")
FORBIDDEN = NoPermissionError("NOPERM this user has no permissions")
NO_SCRIPT = NoScriptError("NOSCRIPT No matching script.")
ID = b"1-2"
ENDED, BEHIND, LOST = [b"ended", b"2-0", b""], [b"behind"], [b"lost", b"{}"]


def read(items: list[LogItem], *answers: Any, repeated: bool = False) -> list[Meaning]:
    return read_answers(items, answers, repeated=repeated)


@pytest.mark.parametrize(
    ("answer", "first", "repeated"),
    [
        (ID, Meaning.WRITTEN, Meaning.WRITTEN),
        (None, Meaning.GONE, Meaning.GONE),
        (SMALLER, Meaning.FENCED, Meaning.REPEAT),
        (WRONG, Meaning.REFUSED, Meaning.REFUSED),
        (FORBIDDEN, Meaning.REFUSED, Meaning.REFUSED),
        (NO_SCRIPT, Meaning.REFUSED, Meaning.REFUSED),
        (FULL, Meaning.FULL, Meaning.FULL),
        (READ_ONLY, Meaning.FULL, Meaning.FULL),
        (ClusterDownError("CLUSTERDOWN"), Meaning.FULL, Meaning.FULL),
        (MOVING, Meaning.MOVING, Meaning.MOVING),
    ],
    ids=str,
)
def test_an_answer_to_an_event(answer: Any, first: Meaning, repeated: Meaning) -> None:
    (item,) = GatheredLog().append()

    assert read([item], answer) == [first]
    assert read([item], answer, repeated=True) == [repeated]
    item.repeated = True
    assert read([item], answer) == [repeated], "it had been sent before, in another batch"


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        (ID, Meaning.LOST),
        (None, Meaning.GONE),
        (SMALLER, Meaning.FENCED),
        (WRONG, Meaning.REFUSED),
        (FULL, Meaning.FULL),
        (MOVING, Meaning.MOVING),
    ],
    ids=str,
)
@pytest.mark.parametrize("refusal", [FULL, MOVING], ids=str)
def test_an_answer_to_an_event_behind_one_that_waits(refusal: ResponseError, answer: Any, meaning: Meaning) -> None:
    items = GatheredLog().append(2)

    assert read(items, refusal, answer)[1] is meaning


def test_an_event_that_may_have_been_written_before_the_one_that_waits_is_lost() -> None:
    items = GatheredLog().append(2)

    assert read(items, FULL, SMALLER, repeated=True) == [Meaning.FULL, Meaning.LOST]


def test_events_behind_one_that_waits_wait_or_are_lost_to_the_last() -> None:
    items = GatheredLog().append(4)

    assert read(items, ID, FULL, FULL, ID) == [Meaning.WRITTEN, Meaning.FULL, Meaning.FULL, Meaning.LOST]


@pytest.mark.parametrize("refusal", [None, SMALLER, WRONG], ids=str)
def test_an_event_behind_one_that_is_never_accepted_keeps_its_own_answer(refusal: Any) -> None:
    items = GatheredLog().append(2)

    assert read(items, refusal, ID)[1] is Meaning.WRITTEN


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        (ENDED, Meaning.WRITTEN),
        (LOST, Meaning.WRITTEN),
        (BEHIND, Meaning.WRITTEN),
        (NO_SCRIPT, Meaning.NO_SCRIPT),
        (WRONG, Meaning.REFUSED),
        (SMALLER, Meaning.REFUSED),
        (FULL, Meaning.FULL),
        (MOVING, Meaning.MOVING),
    ],
    ids=str,
)
def test_an_answer_to_an_end(answer: Any, meaning: Meaning) -> None:
    assert read([GatheredLog().end()], answer) == [meaning]


@pytest.mark.parametrize("refusal", [FULL, MOVING], ids=str)
def test_an_end_waits_for_the_events_before_it(refusal: ResponseError) -> None:
    log, other = GatheredLog(), GatheredLog()
    items = [*log.append(), log.end(), other.end()]

    assert read(items, refusal, BEHIND, BEHIND)[1:] == [Meaning.BEHIND, Meaning.WRITTEN]
    assert read(items, refusal, LOST, ENDED)[1:] == [Meaning.WRITTEN, Meaning.WRITTEN]
    assert read(items, ID, BEHIND, BEHIND)[1:] == [Meaning.WRITTEN, Meaning.WRITTEN]


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [(1, Meaning.WRITTEN), (0, Meaning.WRITTEN), (WRONG, Meaning.REFUSED), (FULL, Meaning.FULL)],
    ids=str,
)
def test_an_answer_to_a_renewal(answer: Any, meaning: Meaning) -> None:
    assert read([GatheredLog().touch()], answer) == [meaning]


def test_a_renewal_that_waits_says_nothing_of_events() -> None:
    log = GatheredLog()

    assert read([log.touch(), *log.append()], FULL, ID) == [Meaning.FULL, Meaning.WRITTEN]


def test_one_runs_trouble_says_nothing_of_another_run() -> None:
    items = [*GatheredLog().append(), *GatheredLog().append()]

    assert read(items, FULL, ID) == [Meaning.FULL, Meaning.WRITTEN]


def test_each_item_has_its_answer() -> None:
    with pytest.raises(ValueError, match="shorter"):
        read(GatheredLog().append(2), ID)


def test_which_answers_make_the_log_try_again() -> None:
    assert set(PASSING) == {Meaning.FULL, Meaning.MOVING, Meaning.BEHIND}
    assert set(TRIED_AGAIN) == {*PASSING, Meaning.NO_SCRIPT}


def test_a_batch_is_what_waits_in_its_order() -> None:
    log, other = GatheredLog(), GatheredLog()
    items = [*log.append(2), *other.append(), log.touch(), log.end()]
    queue = deque(items)

    assert take_batch(queue, one_a_run=False) == (items, [])
    assert not queue


def test_a_batch_has_a_bound() -> None:
    queue = deque(GatheredLog().append(MAX_BATCH_ITEMS + 3))

    batch, _ = take_batch(queue, one_a_run=False)

    assert len(batch) == MAX_BATCH_ITEMS
    assert len(queue) == 3


def test_while_redis_is_full_a_batch_has_one_item_per_run_and_the_others_keep_their_order() -> None:
    log, other = GatheredLog(), GatheredLog()
    first, second = log.append(2)
    (of_other,) = other.append()
    end = log.end()
    queue: deque[LogItem] = deque([first, second, of_other, end])

    assert take_batch(queue, one_a_run=True) == ([first, of_other], [])
    assert list(queue) == [second, end]


def test_while_redis_is_full_no_more_items_are_looked_at_than_a_batch_has() -> None:
    log, other = GatheredLog(), GatheredLog()
    queue = deque([*log.append(MAX_BATCH_ITEMS), *other.append()])

    batch, _ = take_batch(queue, one_a_run=True)

    assert batch == log.items[:1]
    assert list(queue) == [*log.items[1:], *other.items]


def test_dropped_events_are_left_out_of_a_batch_and_ends_are_not() -> None:
    log = GatheredLog()
    items = [*log.append(2), log.touch(), log.end()]
    log.log.drop()

    assert take_batch(deque(items), one_a_run=False) == (items[2:], items[:2])
