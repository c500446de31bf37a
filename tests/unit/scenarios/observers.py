"""Scenarios of announced ends and their observers, in a patched process with a real Redis."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gevent
from gevent.pool import Pool

from errors import DatabaseUnavailable
from runtime.events import store as store_module
from runtime.events.end_stream import EndStream
from runtime.events.keys import Keys
from runtime.events.pipelined_connection import Requests
from runtime.events.store import EndOutcome, Lifetimes, RunStore
from runtime.events.topology import Cluster, SingleServer
from runtime.protocol.announcements import AnnouncedEnd
from runtime.protocol.dialects import Dialect
from runtime.protocol.events import EventEncoder, RunEnd
from runtime.protocol.ids import new_id
from runtime.protocol.jobs import TURN, Origin
from runtime.protocol.records import RunRecord
from runtime.runs import observers as observers_module
from runtime.runs.observers import Handler, HeardEnd, Observers
from tests.support import patched

WITHIN_SECONDS = 60.0
"""For whatever has to come true on a machine that is busy."""
DONE = RunEnd.succeeded(output="x", snapshot={}, usage=None)
FACTS = "facts"
MANY = 10_000


def _eventually(condition: Callable[[], object]) -> None:
    patched.eventually(condition, WITHIN_SECONDS)


@dataclass
class Worker:
    """The parts of one worker process that deal with announced ends."""

    link: Requests
    keys: Keys
    store: RunStore
    observers: Observers

    def ended(self, end: RunEnd = DONE, **fields: Any) -> str:
        """A run that has begun and ended, of a tenant unless ``fields`` say otherwise."""
        run_id = self.begun(**fields)
        self.end(run_id, end)
        return run_id

    def begun(self, **fields: Any) -> str:
        given = {"tenant_id": "acme", **fields}
        record = RunRecord.begin(new_id(), dialect=Dialect.CURRENT, worker="worker", **given)
        self.store.create(record, EventEncoder(record.run_id, record.dialect).started())
        return record.run_id

    def end(self, run_id: str, end: RunEnd = DONE) -> None:
        assert self.store.end(self.record(run_id), end)[0] is EndOutcome.ENDED

    def record(self, run_id: str) -> RunRecord:
        record = self.store.get(run_id)
        assert record is not None
        return record

    def left(self) -> int:
        """How many announced ends are stored."""
        return sum(int(self.link.ask(("XLEN", self.keys.ends(bucket)))[0]) for bucket in self.keys.all_buckets)

    def unacknowledged(self, observer: str) -> int:
        return sum(
            int(self.link.ask(("XPENDING", self.keys.ends(bucket), observer))[0][0]) for bucket in self.keys.all_buckets
        )


@contextmanager
def _worker(
    url: str, handlers: dict[str, Handler], *, buckets: int | None = None, starts: bool = True
) -> Iterator[Worker]:
    observers_module.LOOK_SECONDS, observers_module.TIDY_SECONDS = 0.05, 0.05
    keys = Keys("observed", buckets)
    link = (Cluster if buckets else SingleServer)(url, keys).requests
    link.start()
    observers = Observers()
    for name, handle in handlers.items():
        observers.register(name, handle)
    worker = Worker(link, keys, RunStore(link, keys, Lifetimes(600, 10, 600), observers), observers)
    if starts:
        observers.start(EndStream(link, keys, worker=new_id()))
    try:
        yield worker
    finally:
        observers.close()
        link.close()


class Hears:
    """An observer that remembers the ends it has heard of."""

    def __init__(self) -> None:
        self.ends: list[AnnouncedEnd] = []
        self.sizes: list[int] = []

    def __call__(self, heard: Sequence[HeardEnd]) -> None:
        self.sizes.append(len(heard))
        self.ends += [one.end for one in heard]
        for one in heard:
            one.acknowledge()

    @property
    def run_ids(self) -> list[str]:
        return [end.run_id for end in self.ends]


def an_observer_hears_of_all_ends_but_those_of_plain_runs_without_a_tenant(url: str) -> None:
    observer, origin = Hears(), Origin(kind=TURN, id="turn-1")
    with _worker(url, {"observer": observer}) as worker:
        worker.ended(tenant_id=None)
        of_tenant = worker.ended(RunEnd.failed("it broke", reason="timeout"))
        of_turn = worker.ended(RunEnd.cancelled(reason="stopped"), tenant_id=None, origin=origin)

        _eventually(lambda: len(observer.ends) == 2)

    told = {end.run_id: end for end in observer.ends}
    assert told[of_tenant].model_dump() == {
        "run_id": of_tenant,
        "origin": {"kind": "run", "id": of_tenant},
        "tenant_id": "acme",
        "status": "failed",
        "reason": "timeout",
    }
    assert (told[of_turn].origin, told[of_turn].status, told[of_turn].reason) == (origin, "cancelled", "stopped")


def an_end_is_announced_once_whoever_tries_to_end_the_run(url: str) -> None:
    observer = Hears()
    with _worker(url, {"observer": observer}) as worker:
        run_id = worker.begun()
        record = worker.record(run_id)
        tries = [gevent.spawn(worker.store.end, record, RunEnd.cancelled()) for _ in range(20)]
        gevent.joinall(tries)
        _eventually(lambda: observer.ends and worker.unacknowledged("observer") == 0)

    assert Counter(one.get()[0] for one in tries)[EndOutcome.ENDED] == 1
    assert observer.run_ids == [run_id]


def a_record_of_an_earlier_or_later_version_still_ends(url: str) -> None:
    observer = Hears()
    with _worker(url, {"observer": observer}) as worker:
        old, new = worker.begun(), worker.begun(origin=Origin(kind="a kind to come", id="1"))
        key, text = worker.keys.record(old), worker.record(old).model_dump_json(exclude={"origin", "user_id"})
        worker.link.ask(("SET", key, text))
        worker.end(old)
        worker.end(new)
        _eventually(lambda: len(observer.ends) == 2)

    assert {end.origin.kind for end in observer.ends} == {"run", "a kind to come"}


def an_observer_that_was_away_catches_up(url: str) -> None:
    observer = Hears()
    with _worker(url, {"observer": observer}, starts=False) as away:
        ended = set(Pool(200).imap_unordered(lambda _: away.ended(), range(MANY)))
    assert len(ended) == MANY
    assert observer.ends == []

    with _worker(url, {"observer": observer}) as worker:
        assert worker.left() == MANY
        _eventually(lambda: len(observer.ends) == MANY)
        _eventually(lambda: worker.unacknowledged("observer") == 0 and worker.left() <= 1)
        again = worker.ended()
        _eventually(lambda: len(observer.ends) == MANY + 1)

    assert set(observer.run_ids) == {*ended, again}
    assert len(observer.run_ids) == MANY + 1, "and none of them twice, as it never failed"
    assert max(observer.sizes) <= observers_module.PAGE_ENDS


def a_slow_observer_has_a_bounded_number_under_way(url: str) -> None:
    kept: list[HeardEnd] = []
    with _worker(url, {"observer": kept.extend}) as worker:
        Pool(100).map(lambda _: worker.ended(), range(observers_module.MOST_UNACKNOWLEDGED + 300))
        _eventually(lambda: len(kept) == observers_module.MOST_UNACKNOWLEDGED)
        gevent.sleep(observers_module.LOOK_SECONDS * 4)
        most = len(kept)

        for one in list(kept):
            one.acknowledge()
        _eventually(lambda: len(kept) == observers_module.MOST_UNACKNOWLEDGED + 300)

    assert most == observers_module.MOST_UNACKNOWLEDGED


def nothing_is_cut_off_before_the_slowest_observer_has_acknowledged_it(url: str) -> None:
    kept: list[HeardEnd] = []
    quick = Hears()
    with _worker(url, {"quick": quick, "slow": kept.extend}) as worker:
        for _ in range(20):
            worker.ended()
        _eventually(lambda: len(quick.ends) == len(kept) == 20 and worker.unacknowledged("quick") == 0)
        for one in kept[:10]:
            one.acknowledge()
        _eventually(lambda: worker.unacknowledged("slow") == 10 and worker.left() == 10)
        for one in kept[10:]:
            one.acknowledge()

        _eventually(lambda: worker.left() <= 1)


def an_end_that_an_observer_fails_for_is_repeated_and_holds_up_nothing_else(url: str) -> None:
    observers_module.IDLE_SECONDS = 0.2
    observer, failed = Hears(), Counter[str]()
    with _worker(url, {}) as quiet:
        assert not quiet.observers.is_there

    def handle(heard: Sequence[HeardEnd]) -> None:
        for one in heard:
            if one.end.origin.id == "bad" and failed[one.end.run_id] < 3:
                failed[one.end.run_id] += len(heard) == 1  # alone: with others it is only tried
                raise ValueError("cannot be done")
        observer(heard)

    with _worker(url, {"observer": handle}, starts=False) as worker:
        good = [worker.ended() for _ in range(10)]
        bad = worker.ended(origin=Origin(kind="test", id="bad"))
        good += [worker.ended() for _ in range(10)]
        worker.observers.start(EndStream(worker.link, worker.keys, worker=new_id()))

        _eventually(lambda: set(observer.run_ids) == {*good, bad})
        _eventually(lambda: worker.unacknowledged("observer") == 0)

    assert observer.run_ids[-1] == bad
    assert failed[bad] == 3


def an_end_that_fails_every_time_is_given_up(url: str) -> None:
    observers_module.IDLE_SECONDS, observers_module.MOST_DELIVERIES = 0.02, 3
    tries: list[str] = []

    def fail(heard: Sequence[HeardEnd]) -> None:
        tries.extend(one.end.run_id for one in heard)
        raise ValueError("cannot be done")

    with _worker(url, {"observer": fail}) as worker:
        run_id = worker.ended()
        _eventually(lambda: len(tries) >= 3 and worker.unacknowledged("observer") == 0)

        assert tries == [run_id] * 3


def an_end_is_retried_until_what_its_observer_needs_is_back(url: str) -> None:
    observers_module.LONGEST_RETRY_SECONDS = 0.05
    observer, is_away = Hears(), True
    tries = 0

    def handle(heard: Sequence[HeardEnd]) -> None:
        nonlocal tries
        tries += 1
        if is_away:
            raise DatabaseUnavailable
        observer(heard)

    with _worker(url, {"observer": handle}) as worker:
        run_ids = {worker.ended() for _ in range(10)}
        _eventually(lambda: tries > 5)
        assert observer.ends == []
        is_away = False
        _eventually(lambda: set(observer.run_ids) == run_ids)


def beyond_the_bound_the_oldest_are_lost_and_an_alarm_says_so_before(url: str) -> None:
    vars(store_module)["MOST_ENDS"], observers_module.ALARM_ENDS = 1000, 500
    alarms: list[str] = []
    observers_module.logger.error = lambda text, *values: alarms.append(text % values)  # type: ignore[method-assign]
    with _worker(url, {"observer": lambda heard: None}) as worker:
        Pool(100).map(lambda _: worker.ended(), range(700))
        _eventually(lambda: alarms)
        assert worker.left() == 700
        Pool(100).map(lambda _: worker.ended(), range(700))

        assert worker.left() < 1300

    assert "wait for the slowest observer" in alarms[0]


def redis_may_lose_the_ends_and_their_observers(url: str) -> None:
    observer = Hears()
    with _worker(url, {"observer": observer}) as worker:
        worker.ended()
        _eventually(lambda: len(observer.ends) == 1)
        worker.link.ask(("FLUSHALL",))
        run_id = worker.ended()

        _eventually(lambda: observer.run_ids[1:] == [run_id])


def in_a_cluster_the_ends_of_all_buckets_are_heard_of(url: str) -> None:
    observer, buckets = Hears(), 8
    with _worker(url, {"observer": observer}, buckets=buckets) as worker:
        run_ids = {worker.ended() for _ in range(60)}
        _eventually(lambda: set(observer.run_ids) == run_ids)
        _eventually(lambda: worker.unacknowledged("observer") == 0)

        assert {worker.keys.bucket(run_id) for run_id in run_ids} == set(range(buckets))
        _eventually(lambda: worker.left() <= buckets)


class FactWriter:
    """An observer whose fact a repeat does not change; ``told`` counts how often it was asked for each."""

    def __init__(self, url: str) -> None:
        self._link = SingleServer(url, Keys("observed")).requests
        self._link.start()

    def __call__(self, heard: Sequence[HeardEnd]) -> None:
        for one in heard:
            self._link.ask(("HINCRBY", "told", one.end.run_id, 1), ("HSETNX", FACTS, one.end.run_id, os.getpid()))
        for one in heard:
            one.acknowledge()


def _die(*_: object, **__: object) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_worker(url: str, step: str) -> None:
    """Ends runs, and is killed at one step of handling their announced ends."""
    facts = FactWriter(url)

    def half(heard: Sequence[HeardEnd]) -> None:
        facts(heard[: len(heard) // 2])
        _die()

    def fact(heard: Sequence[HeardEnd]) -> None:
        facts(heard)
        _die()  # the acknowledgements are on their way

    handlers: dict[str, Handler] = {"told": _die, "half": half, "fact": fact}
    with _worker(url, {"observer": handlers.get(step, facts)}, starts=False) as worker:
        for _ in range(10):
            worker.ended()
        if step == "ended":
            _die()
        stream = EndStream(worker.link, worker.keys, worker=new_id())
        _patch(stream, step)
        worker.observers.start(stream)
        gevent.sleep(WITHIN_SECONDS)


def _patch(stream: EndStream, step: str) -> None:
    read, acknowledge = stream.read, stream.acknowledge

    def then_die(act: Callable[..., Any]) -> Callable[..., Any]:
        def act_and_die(*given: Any, **options: Any) -> Any:
            if act(*given, **options) != []:
                _die()

        return act_and_die

    if step == "read":
        stream.read = then_die(read)  # type: ignore[method-assign]
    elif step == "acknowledged":
        stream.acknowledge = then_die(acknowledge)  # type: ignore[method-assign]


def surviving_worker(url: str, step: str) -> None:
    """Handles all that the killed worker has left, and asserts that each fact was written, and only once."""
    observers_module.IDLE_SECONDS = 0.2
    facts = FactWriter(url)
    with _worker(url, {"observer": facts}) as worker:
        expected = 10
        _eventually(lambda: len(worker.link.ask(("HGETALL", FACTS))[0]) // 2 == expected)
        _eventually(lambda: worker.unacknowledged("observer") == 0 and worker.left() <= 1)
        (told,), (written,) = worker.link.ask(("HVALS", "told")), worker.link.ask(("HVALS", FACTS))

    mine = str(os.getpid()).encode()
    by_me = {"ended": 10, "read": 10, "told": 10, "half": 5, "fact": 0, "acknowledged": 0}[step]
    assert sum(one == mine for one in written) == by_me
    repeats = sum(int(one) - 1 for one in told)
    assert repeats == {"half": 5, "fact": 10}.get(step, 0)
