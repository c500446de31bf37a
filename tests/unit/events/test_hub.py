"""The hub: who is handed what, from where, while readers come and go."""

from __future__ import annotations

import gevent
import pytest
from gevent import GreenletExit

from runtime.events.subscriber import MAX_QUEUED_BYTES, Subscriber
from runtime.protocol.cursors import BEGINNING
from tests.unit.events.streams import CONTROL, STREAM, ReadHub, cursors, entry, last

OTHER = "test:runs:2:events"


@pytest.fixture
def read_hub() -> ReadHub:
    return ReadHub()


def subscribe(read_hub: ReadHub, cursor: str = "1-1", stream: str = STREAM) -> Subscriber:
    """A subscriber that is filled from now on."""
    subscriber = Subscriber(stream)
    read_hub.hub.admit(subscriber)
    if not read_hub.hub.join_owned(subscriber):
        read_hub.hub.join(subscriber, cursor=cursor)
    subscriber.catch_up()
    return subscriber


def queued(subscriber: Subscriber) -> list[str] | None:
    return cursors(subscriber.take(0))


def test_a_stream_is_read_from_where_its_first_subscriber_is(read_hub: ReadHub) -> None:
    subscriber = subscribe(read_hub, "1-3")

    assert read_hub.reading == {STREAM: "1-3"}
    read_hub.reader.bring(STREAM, entry("1-4"), entry("1-5"))
    assert queued(subscriber) == ["1-4", "1-5"]
    assert queued(subscriber) == []


def test_a_second_subscriber_does_not_change_where_the_stream_is_read(read_hub: ReadHub) -> None:
    """It is behind or before the first one, and reads the difference by itself."""
    one = subscribe(read_hub, "1-3")
    read_hub.reader.bring(STREAM, entry("1-4"))
    behind, before = subscribe(read_hub, "1-1"), subscribe(read_hub, "1-9")
    assert read_hub.reading == {STREAM: "1-4"}

    read_hub.reader.bring(STREAM, entry("1-5"))

    assert [queued(each) for each in (one, behind, before)] == [["1-4", "1-5"], ["1-5"], ["1-5"]]


def test_a_stream_is_read_until_its_last_subscriber_leaves(read_hub: ReadHub) -> None:
    one, other = subscribe(read_hub), subscribe(read_hub)

    read_hub.hub.leave(one)
    assert read_hub.reading == {STREAM: "1-1"}
    read_hub.reader.bring(STREAM, entry("1-2"))
    assert (queued(one), queued(other)) == ([], ["1-2"])

    read_hub.hub.leave(other)
    assert (read_hub.reading, read_hub.hub.subscriber_count) == ({}, 0)


def test_leaving_twice_or_without_having_joined_does_no_harm(read_hub: ReadHub) -> None:
    one, other = subscribe(read_hub), Subscriber(STREAM)
    read_hub.hub.admit(other)

    for subscriber in (other, other):
        read_hub.hub.leave(subscriber)

    assert (read_hub.reading, read_hub.hub.subscriber_count) == ({STREAM: "1-1"}, 1)
    read_hub.hub.leave(one)


def test_a_stream_that_is_joined_again_is_read_from_the_new_cursor(read_hub: ReadHub) -> None:
    read_hub.hub.leave(subscribe(read_hub, "1-3"))

    subscribe(read_hub, "1-7")

    assert read_hub.reading == {STREAM: "1-7"}


def test_streams_are_kept_apart(read_hub: ReadHub) -> None:
    one, other = subscribe(read_hub), subscribe(read_hub, "5-5", OTHER)
    assert read_hub.reading == {STREAM: "1-1", OTHER: "5-5"}

    read_hub.reader.bring(OTHER, entry("5-6"))

    assert (queued(one), queued(other)) == ([], ["5-6"])


def test_the_end_of_a_run_ends_the_reading_of_its_stream(read_hub: ReadHub) -> None:
    one, other = subscribe(read_hub), subscribe(read_hub)

    read_hub.reader.bring(STREAM, entry("1-2"), last("2-0"))

    assert read_hub.reading == {}
    assert [queued(each) for each in (one, other)] == [["1-2", "2-0"]] * 2


def test_a_subscriber_that_lags_is_left_alone_until_it_catches_up(read_hub: ReadHub) -> None:
    lagging, other = Subscriber(STREAM), subscribe(read_hub)
    read_hub.hub.join(lagging, cursor="1-1")

    read_hub.reader.bring(STREAM, entry("1-2"))
    lagging.catch_up()
    read_hub.reader.bring(STREAM, entry("1-3"))

    assert (queued(lagging), queued(other)) == (["1-3"], ["1-2", "1-3"])


def test_a_slow_subscriber_loses_its_queue_and_no_other_does(read_hub: ReadHub) -> None:
    slow, quick = subscribe(read_hub), subscribe(read_hub)
    big = b"x" * MAX_QUEUED_BYTES
    read_hub.reader.bring(STREAM, entry("1-2", payload=big))
    assert not slow.lagging, "as much is just allowed"
    assert queued(quick) == ["1-2"]

    read_hub.reader.bring(STREAM, entry("1-3"))
    read_hub.reader.bring(STREAM, entry("1-4"))

    assert (slow.lagging, quick.lagging) == (True, False)
    assert (queued(slow), queued(quick)) == ([], ["1-3", "1-4"])


def test_a_queue_that_was_taken_has_room_again(read_hub: ReadHub) -> None:
    subscriber = subscribe(read_hub)

    for number in range(2, 6):
        read_hub.reader.bring(STREAM, entry(f"1-{number}", payload=b"x" * MAX_QUEUED_BYTES))
        assert queued(subscriber) == [f"1-{number}"]

    assert not subscriber.lagging


def test_an_owned_stream_is_published_and_not_read(read_hub: ReadHub) -> None:
    hub = read_hub.hub
    hub.own(STREAM)
    assert (hub.owns(STREAM), hub.is_watched(STREAM)) == (True, False)
    subscriber = subscribe(read_hub)
    assert hub.is_watched(STREAM)

    hub.publish(STREAM, entry("1-2"))

    assert (queued(subscriber), read_hub.reading) == (["1-2"], {})


def test_an_owned_stream_whose_last_subscriber_has_left_is_watched_by_nobody(read_hub: ReadHub) -> None:
    read_hub.hub.own(STREAM)

    read_hub.hub.leave(subscribe(read_hub))
    assert (read_hub.hub.owns(STREAM), read_hub.hub.is_watched(STREAM)) == (True, False)
    read_hub.hub.disown(STREAM, cursor="1-2")

    assert read_hub.reading == {}


def test_a_stream_that_is_not_owned_cannot_be_joined_as_an_owned_one(read_hub: ReadHub) -> None:
    subscriber = Subscriber(STREAM)

    assert not read_hub.hub.join_owned(subscriber)
    assert not read_hub.hub.is_watched(STREAM)


def test_a_watched_stream_of_another_worker_is_not_published_here(read_hub: ReadHub) -> None:
    subscribe(read_hub)

    assert not read_hub.hub.is_watched(STREAM)


def test_a_watched_stream_is_read_no_longer_once_this_worker_owns_it(read_hub: ReadHub) -> None:
    subscriber = subscribe(read_hub, BEGINNING)
    assert read_hub.reading == {STREAM: BEGINNING}

    read_hub.hub.own(STREAM)
    read_hub.hub.publish(STREAM, entry("1-1"))

    assert (read_hub.reading, queued(subscriber)) == ({}, ["1-1"])


def test_a_subscriber_that_joins_while_the_stream_becomes_owned_is_published_to(read_hub: ReadHub) -> None:
    subscriber = Subscriber(STREAM)
    assert not read_hub.hub.join_owned(subscriber)
    read_hub.hub.own(STREAM)

    read_hub.hub.join(subscriber, cursor="1-1")
    subscriber.catch_up()
    read_hub.hub.publish(STREAM, entry("1-2"))

    assert (read_hub.reading, queued(subscriber)) == ({}, ["1-2"])


def test_an_owned_stream_that_is_given_up_is_read_behind_its_last_entry(read_hub: ReadHub) -> None:
    read_hub.hub.own(STREAM)
    subscriber = subscribe(read_hub)
    read_hub.hub.publish(STREAM, entry("1-2"))

    read_hub.hub.disown(STREAM, cursor="1-2")
    assert (read_hub.hub.owns(STREAM), read_hub.hub.is_watched(STREAM)) == (False, False)
    read_hub.reader.bring(STREAM, entry("1-3"))

    assert queued(subscriber) == ["1-2", "1-3"]


def test_an_owned_stream_that_nobody_watches_is_given_up_without_a_reader(read_hub: ReadHub) -> None:
    read_hub.hub.own(STREAM)

    read_hub.hub.disown(STREAM, cursor="1-2")

    assert read_hub.reading == {}


def test_giving_up_what_is_not_owned_changes_nothing(read_hub: ReadHub) -> None:
    subscribe(read_hub, "1-5")

    read_hub.hub.disown(STREAM, cursor="1-2")

    assert read_hub.reading == {STREAM: "1-5"}


def test_a_run_that_has_ended_is_owned_no_longer(read_hub: ReadHub) -> None:
    read_hub.hub.own(STREAM)
    subscriber = subscribe(read_hub)

    read_hub.hub.publish(STREAM, last("2-0"))
    read_hub.hub.disown(STREAM, cursor="1-1")

    assert not read_hub.hub.owns(STREAM)
    assert (queued(subscriber), read_hub.reading) == (["2-0"], {}), "nothing follows that would be read"


def test_a_reader_that_has_ended_is_replaced(read_hub: ReadHub) -> None:
    first = read_hub.reader
    first.has_ended = True

    subscribe(read_hub, "1-3")

    assert len(read_hub.readers.made) == 2
    assert read_hub.reader is not first
    assert (read_hub.reading, read_hub.reader.starts, first.starts) == ({STREAM: "1-3"}, 1, 1)


def test_streams_of_one_group_share_a_reader(read_hub: ReadHub) -> None:
    read_hub.readers.groups = {OTHER: 7}

    subscribe(read_hub)
    subscribe(read_hub, "5-5", OTHER)

    own, other = read_hub.readers.made
    assert (set(own.cursors), set(other.cursors)) == ({CONTROL, STREAM}, {OTHER})
    assert (own.starts, other.starts) == (1, 1)


def test_messages_to_this_worker_go_to_its_owner_and_to_nobody_else(read_hub: ReadHub) -> None:
    subscriber = subscribe(read_hub)
    assert read_hub.reader.cursors[CONTROL] == BEGINNING

    read_hub.reader.bring(CONTROL, entry("1-1", "stop", b"run-1"), entry("1-2", "stop", b"run-2"))

    assert read_hub.told == [("stop", "run-1"), ("stop", "run-2")]
    assert queued(subscriber) == []


def test_cutting_reaches_readers_of_history_and_those_that_come_later(read_hub: ReadHub) -> None:
    live, reading = subscribe(read_hub), Subscriber(STREAM)
    read_hub.hub.admit(reading)

    read_hub.hub.cut_all()
    late, endless = Subscriber(STREAM), Subscriber(STREAM)
    read_hub.hub.admit(late)
    read_hub.hub.admit(endless, is_endless=True)

    assert [each.is_cut for each in (live, reading, late, endless)] == [True] * 4
    assert read_hub.hub.subscriber_count == 4, "until they leave"


def test_subscribers_that_wait_for_no_end_can_be_cut_alone(read_hub: ReadHub) -> None:
    endless, gone, of_run = Subscriber(STREAM), Subscriber(STREAM), subscribe(read_hub)
    for subscriber in (endless, gone):
        read_hub.hub.admit(subscriber, is_endless=True)
    read_hub.hub.leave(gone)

    read_hub.hub.cut_endless()
    late, late_of_run = Subscriber(STREAM), subscribe(read_hub)
    read_hub.hub.admit(late, is_endless=True)

    assert [each.is_cut for each in (endless, gone, of_run, late, late_of_run)] == [True, False, False, True, False]


def test_a_subscriber_that_is_cut_before_it_catches_up_does_not_wait() -> None:
    subscriber = Subscriber(STREAM)
    subscriber.cut()
    subscriber.catch_up()

    with gevent.Timeout(10):
        assert subscriber.take(60) == []


def test_entries_from_before_it_caught_up_do_not_wake_a_subscriber(read_hub: ReadHub) -> None:
    subscriber = subscribe(read_hub)
    read_hub.reader.bring(STREAM, entry("1-2"))
    subscriber.catch_up()

    assert queued(subscriber) == []


def test_a_reader_that_hangs_is_ended(read_hub: ReadHub) -> None:
    def hang() -> None:
        read_hub.hub.admit(Subscriber(STREAM))
        gevent.sleep(60)

    hanging = gevent.spawn(hang)
    gevent.sleep(0)

    read_hub.hub.abandon_all()
    hanging.join(10)

    assert isinstance(hanging.value, GreenletExit)


def test_closing_closes_every_reader(read_hub: ReadHub) -> None:
    read_hub.readers.groups = {OTHER: 7}
    subscribe(read_hub, stream=OTHER)

    read_hub.hub.close()

    assert [reader.is_closed for reader in read_hub.readers.made] == [True, True]
