"""A reader's way through a run: its history, what comes, and the seam between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from runtime.events import follow
from runtime.events.entries import StreamEntry
from runtime.events.follow import FIRST_PAGE_ENTRIES, MOST_PAGE_ENTRIES, PAGE_BYTES, Follower
from runtime.events.subscriber import MAX_QUEUED_BYTES
from runtime.protocol.cursors import BEGINNING, GREATEST
from tests.unit.events.streams import STREAM, ReadHub, Stream, cursors, entries, entry, last

RUN = "1"
SOON = 0.01


@pytest.fixture
def read_hub() -> ReadHub:
    return ReadHub()


@pytest.fixture
def at(read_hub: ReadHub) -> Iterator[Any]:
    """Makes followers of a stream, which are left at the end."""
    followers: list[Follower] = []

    def make(stream: Stream, after: str = BEGINNING, **options: Any) -> Follower:
        options = {"heartbeat": SOON, **options}
        follower = Follower(RUN, STREAM, after=after, store=stream, hub=read_hub.hub, **options)
        followers.append(follower.__enter__())
        return follower

    yield make
    for follower in followers:
        follower.__exit__()
    assert read_hub.hub.subscriber_count == 0
    assert read_hub.reading == {}


def rest(follower: Follower) -> list[str]:
    """All that is still to come, to the end."""
    found: list[str] = []
    while (batch := follower.read()) is not None:
        found += [one.cursor for one in batch]
    return found


def test_a_run_that_has_ended_is_its_history(at: Any, read_hub: ReadHub) -> None:
    stream = Stream([*entries(1, 4), last("2-0")])
    follower = at(stream, has_ended=True)

    assert cursors(follower.read()) == ["1-1", "1-2", "1-3", "2-0"]
    assert follower.read() is None
    assert (follower.is_cut, len(stream.pages), read_hub.reading) == (False, 1, {})


def test_a_history_is_read_from_its_cursor(at: Any) -> None:
    assert rest(at(Stream([*entries(1, 4), last("2-0")]), "1-2", has_ended=True)) == ["1-3", "2-0"]


def test_a_long_history_is_read_by_pages_that_grow_with_what_fits(at: Any) -> None:
    stream = Stream([*entries(1, 2500), last("2-0")])
    follower = at(stream, has_ended=True)

    assert rest(follower) == cursors(stream.stored)
    assert stream.pages == [
        (BEGINNING, FIRST_PAGE_ENTRIES),
        ("1-100", MOST_PAGE_ENTRIES),
        ("1-2100", MOST_PAGE_ENTRIES),
    ]


@pytest.mark.parametrize(
    ("size", "limit"),
    [(0, MOST_PAGE_ENTRIES), (1, MOST_PAGE_ENTRIES), (1024, 256), (PAGE_BYTES, 1), (PAGE_BYTES * 3, 1)],
)
def test_the_next_page_is_as_long_as_what_it_holds_allows(at: Any, size: int, limit: int) -> None:
    stream = Stream([entry(f"1-{number}", payload=b"x" * size) for number in range(FIRST_PAGE_ENTRIES)])
    follower = at(stream, has_ended=True)

    rest(follower)

    assert stream.pages[1] == ("1-99", limit)


def test_after_a_full_last_page_the_reader_looks_for_another(at: Any) -> None:
    stream = Stream(entries(1, FIRST_PAGE_ENTRIES + 1))
    follower = at(stream, has_ended=True)

    assert len(rest(follower)) == FIRST_PAGE_ENTRIES
    assert len(stream.pages) == 2


def test_a_terminal_event_ends_the_reading_although_the_record_was_not_ended(at: Any) -> None:
    follower = at(Stream([*entries(1, 3), last("2-0")]))

    assert rest(follower) == ["1-1", "1-2", "2-0"]


def test_a_page_that_was_read_already_is_not_read_again(at: Any) -> None:
    stream = Stream(entries(1, 4))
    follower = at(stream, first_page=entries(1, 3), has_ended=True)

    assert rest(follower) == ["1-1", "1-2"]
    assert stream.pages == []


def test_a_trimmed_history_begins_with_what_is_left(at: Any) -> None:
    assert rest(at(Stream([*entries(5, 7), last("2-0")]), "1-2", has_ended=True)) == ["1-5", "1-6", "2-0"]


def test_new_events_follow_the_history(at: Any, read_hub: ReadHub) -> None:
    stream = Stream(entries(1, 3))
    follower = at(stream)

    assert cursors(follower.read()) == ["1-1", "1-2"]
    assert read_hub.reading == {}
    assert follower.read() == [], "nothing came"
    assert read_hub.reading == {STREAM: "1-2"}
    read_hub.reader.bring(STREAM, entry("1-3"), entry("1-4"))
    assert cursors(follower.read()) == ["1-3", "1-4"]
    read_hub.reader.bring(STREAM, last("2-0"))
    assert cursors(follower.read()) == ["2-0"]
    assert (follower.read(), follower.is_cut) == (None, False)


def test_events_stored_before_joining_are_in_the_next_page(at: Any, read_hub: ReadHub) -> None:
    stream = Stream(entries(1, 3))
    follower = at(stream)
    follower.read()
    stream.stored += [entry("1-3")]

    assert cursors(follower.read()) == ["1-3"]
    assert stream.pages[-1][0] == "1-2"
    assert read_hub.reading == {STREAM: "1-2"}, "where the reader is, without another question to Redis"


def test_events_that_arrive_while_a_page_is_read_are_neither_lost_nor_doubled(at: Any, read_hub: ReadHub) -> None:
    stream = Stream(entries(1, 3))
    follower = at(stream)
    follower.read()
    stream.stored += [entry("1-3")]

    def come() -> None:
        stream.stored += [entry("1-4"), last("2-0")]
        read_hub.reader.bring(STREAM, entry("1-3"), entry("1-4"), last("2-0"))

    stream.while_read = come

    assert rest(follower) == ["1-3", "1-4", "2-0"]


def test_a_batch_of_nothing_but_duplicates_is_not_handed_out(at: Any, read_hub: ReadHub) -> None:
    stream = Stream(entries(1, 3))
    follower = at(stream)
    follower.read()
    stream.stored += [entry("1-3")]
    stream.while_read = lambda: read_hub.reader.bring(STREAM, entry("1-3"))

    assert cursors(follower.read()) == ["1-3"]
    assert follower.read() == [], "a sign of life, as nothing else came"


def test_a_run_of_this_worker_is_joined_before_its_history_is_read(at: Any, read_hub: ReadHub) -> None:
    stream = Stream(entries(1, 3))
    read_hub.hub.own(STREAM)
    stream.while_read = lambda: read_hub.hub.publish(STREAM, entry("1-3"))
    follower = at(stream)

    assert cursors(follower.read()) == ["1-1", "1-2"]
    assert cursors(follower.read()) == ["1-3"]
    assert (len(stream.pages), read_hub.reading) == (1, {})
    read_hub.hub.publish(STREAM, last("2-0"))
    assert rest(follower) == ["2-0"]


def test_a_run_whose_stream_is_empty_answers_at_once(at: Any, read_hub: ReadHub) -> None:
    follower = at(Stream(is_awaited=True), heartbeat=60)

    assert follower.read() == []


def test_a_run_that_has_ended_and_has_no_events_ends_at_once(at: Any) -> None:
    assert at(Stream(), has_ended=True).read() is None


def test_a_run_that_waits_is_followed_from_its_beginning(at: Any, read_hub: ReadHub) -> None:
    stream = Stream(is_awaited=True)
    follower = at(stream)

    assert [follower.read(), follower.read()] == [[], []]
    assert read_hub.reading == {STREAM: BEGINNING}
    stream.stored += entries(1, 2)
    read_hub.reader.bring(STREAM, entry("1-1"))
    assert cursors(follower.read()) == ["1-1"]


def test_a_run_without_a_stream_that_will_not_begin_ends(at: Any) -> None:
    assert rest(at(Stream())) == []


def test_a_run_that_waited_and_is_gone_ends(at: Any) -> None:
    stream = Stream(is_awaited=True)
    follower = at(stream)
    assert [follower.read(), follower.read()] == [[], []]

    stream.awaited = False

    assert follower.read() is None
    assert not follower.is_cut


def test_silence_is_a_sign_of_life_while_the_stream_is_there(at: Any) -> None:
    stream = Stream(entries(1, 3))
    follower = at(stream)
    follower.read()

    assert [follower.read(), follower.read()] == [[], []]


@pytest.mark.parametrize("is_awaited", [False, True])
def test_a_stream_that_is_gone_after_it_was_read_ends_the_reading(at: Any, is_awaited: bool) -> None:
    stream = Stream(entries(1, 3))
    follower = at(stream)
    follower.read()
    follower.read()
    stream.stored, stream.awaited = [], is_awaited

    assert follower.read() is None


@pytest.mark.parametrize("after", ["1-7", GREATEST])
def test_a_cursor_beyond_the_end_waits_for_what_lies_behind_it(at: Any, read_hub: ReadHub, after: str) -> None:
    stream = Stream(entries(1, 3))
    follower = at(stream, after)

    assert [follower.read(), follower.read()] == [[], []]
    assert read_hub.reading == {STREAM: "1-2"}, "not the cursor: it would be everybody's"
    read_hub.reader.bring(STREAM, *entries(3, 8))
    assert follower.read() == [], "nothing of it lies behind the cursor"
    read_hub.reader.bring(STREAM, entry("1-8"), last("2-0"))
    assert rest(follower) == ([] if after == GREATEST else ["1-8", "2-0"])


def test_the_end_ends_a_reading_whose_cursor_lies_beyond_it(at: Any, read_hub: ReadHub) -> None:
    follower = at(Stream(entries(1, 3)), "9-0")
    follower.read()
    follower.read()

    read_hub.reader.bring(STREAM, last("2-0"))

    assert (follower.read(), follower.is_cut) == (None, False)


def test_a_reader_that_is_too_slow_reads_pages_until_it_has_caught_up(at: Any, read_hub: ReadHub) -> None:
    stream = Stream(entries(1, 3))
    follower = at(stream)
    follower.read()
    follower.read()
    stream.stored += [entry("1-3")]
    read_hub.reader.bring(STREAM, entry("1-3"))
    assert cursors(follower.read()) == ["1-3"]
    big = [entry(f"1-{number}", payload=b"x" * (MAX_QUEUED_BYTES // 2)) for number in range(4, 7)]
    stream.stored += big

    read_hub.reader.bring(STREAM, *big)
    pages = len(stream.pages)
    assert cursors(follower.read()) == ["1-4", "1-5", "1-6"]
    read_hub.reader.bring(STREAM, entry("1-7"))
    stream.stored += [entry("1-7")]
    assert cursors(follower.read()) == ["1-7"]
    read_hub.reader.bring(STREAM, last("2-0"))

    assert rest(follower) == ["2-0"]
    assert len(stream.pages) > pages


@pytest.mark.parametrize("reads", range(4))
def test_a_reader_that_is_stopped_ends_wherever_it_is(at: Any, read_hub: ReadHub, reads: int) -> None:
    follower = at(Stream(entries(1, 3)))
    for _ in range(reads):
        follower.read()

    follower.stop()

    assert (follower.read(), follower.is_cut) == (None, True)


def test_a_reader_that_is_stopped_while_it_waits_ends_at_once(at: Any) -> None:
    follower = at(Stream(entries(1, 3)), heartbeat=60)
    follower.read()

    gevent.spawn_later(SOON, follower.stop)

    assert (follower.read(), follower.is_cut) == (None, True)


def test_a_reader_that_is_cut_as_something_comes_ends_all_the_same(at: Any, read_hub: ReadHub) -> None:
    follower = at(Stream(entries(1, 3)))
    follower.read()
    follower.read()

    def come_and_cut() -> None:
        read_hub.reader.bring(STREAM, entry("1-3"))
        follower.stop()

    gevent.spawn(come_and_cut)

    assert (follower.read(), follower.is_cut) == (None, True)


def test_queued_events_are_not_handed_out_after_a_cut(at: Any, read_hub: ReadHub) -> None:
    follower = at(Stream(entries(1, 3)))
    follower.read()
    follower.read()
    read_hub.reader.bring(STREAM, entry("1-3"))

    read_hub.hub.cut_all()

    assert follower.read() is None


def test_a_reader_that_has_seen_the_end_is_not_cut(at: Any) -> None:
    follower = at(Stream([last("2-0")]), has_ended=True)
    rest(follower)

    follower.stop()

    assert not follower.is_cut


def test_while_redis_is_away_nothing_comes_and_nothing_is_lost(
    at: Any, read_hub: ReadHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "STORAGE_RETRY_SECONDS", 0)
    stream = Stream(entries(1, 3))
    follower = at(stream)
    found: list[StreamEntry] = []

    for step in range(4):
        stream.is_away = True
        assert follower.read() == []
        stream.is_away = False
        found += follower.read() or []
        stream.stored += [entry(f"1-{step + 3}")]
        if STREAM in read_hub.reading:
            read_hub.reader.bring(STREAM, stream.stored[-1])
            found += follower.read() or []

    assert cursors(found) == cursors(stream.stored[: len(found)])
    assert len(found) >= 4


def test_iterating_enters_and_leaves(read_hub: ReadHub) -> None:
    stream = Stream([*entries(1, 3), last("2-0")])
    follower = Follower(RUN, STREAM, after=BEGINNING, store=stream, hub=read_hub.hub, heartbeat=SOON)

    seen = [(cursors(batch), read_hub.hub.subscriber_count) for batch in follower]

    assert seen == [(["1-1", "1-2", "2-0"], 1)]
    assert read_hub.hub.subscriber_count == 0
