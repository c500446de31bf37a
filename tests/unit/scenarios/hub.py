"""What only the loop on gevent's hub promises. Run in a patched child: see test_hub_loop."""

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable

import gevent
import pytest
from gevent.event import Event

from runtime.execution import hub_loop
from runtime.execution.bridge import LoopBridge
from runtime.execution.hub_loop import HubEventLoop
from tests.support.patched import eventually


def _in_the_loop(function: Callable[[], None]) -> None:
    bridge = LoopBridge("hub")
    bridge.start()

    async def call() -> None:
        function()

    bridge.run(call())
    bridge.close()


def run_until_complete_works_in_the_main_greenlet() -> None:
    loop = HubEventLoop()

    async def work() -> int:
        await asyncio.sleep(0.01)
        return 7

    assert loop.run_until_complete(work()) == 7
    assert not loop.is_running()
    loop.close()
    assert loop.is_closed()


def stopping_ends_with_the_batch_under_way() -> None:
    hub_loop.SLICE = 60.0  # on a busy machine a batch may take longer than a slice, and is then cut in two
    loop = HubEventLoop()
    called: list[str] = []

    def first() -> None:
        loop.stop()
        loop.call_soon(called.append, "next batch")

    loop.call_soon(first)
    loop.call_soon(called.append, "same batch")
    loop.run_forever()
    assert called == ["same batch"]

    loop.stop()
    loop.run_forever()
    assert called == ["same batch", "next batch"]
    loop.close()


def stopping_a_parked_loop_from_a_greenlet_wakes_it() -> None:
    loop = HubEventLoop()
    gevent.spawn_later(0.02, loop.stop)

    loop.run_forever()

    loop.close()


def a_running_loop_refuses_to_run_or_to_close() -> None:
    def check() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(RuntimeError, match="already running"):
            loop.run_forever()
        with pytest.raises(RuntimeError, match="running"):
            loop.close()

    _in_the_loop(check)


def an_exit_raised_by_a_callback_leaves_the_loop_usable(kind: str) -> None:
    error = {"KeyboardInterrupt": KeyboardInterrupt, "SystemExit": SystemExit}[kind]
    loop = HubEventLoop()
    called: list[str] = []

    def leave() -> None:
        raise error

    loop.call_soon(leave)
    loop.call_soon(called.append, "behind")
    with pytest.raises(error):
        loop.run_forever()
    assert asyncio._get_running_loop() is None
    assert not loop.is_running()

    loop.call_soon(loop.stop)
    loop.run_forever()
    assert called == ["behind"]
    loop.close()


def a_descriptor_reused_within_one_turn_is_watched_anew() -> None:
    loop = HubEventLoop()
    calls: list[str] = []
    old_sender, old = socket.socketpair()
    number = old.detach()
    new_sender, new = socket.socketpair()

    def reuse() -> None:
        # All in one callback: the hub sees the number watched before and after, and nothing in between.
        loop.remove_reader(number)
        os.dup2(new.fileno(), number)
        loop.add_reader(number, got, "new")
        new_sender.sendall(b"x")

    def got(which: str) -> None:
        calls.append(which)
        os.read(number, 1)
        loop.stop()

    loop.add_reader(number, got, "old")
    loop.call_later(0.02, reuse)  # by then the hub has told the kernel of the old one
    loop.call_later(5, loop.stop)
    loop.run_forever()

    assert calls == ["new"]
    loop.close()
    os.close(number)
    for each in (old_sender, new_sender, new):
        each.close()


def a_descriptor_reused_without_removing_its_reader_is_watched_anew() -> None:
    loop = HubEventLoop()
    calls: list[str] = []
    old_sender, old = socket.socketpair()
    number = old.detach()
    new_sender, new = socket.socketpair()

    def reuse() -> None:
        os.dup2(new.fileno(), number)
        loop.add_reader(number, got, "new")
        new_sender.sendall(b"x")

    def got(which: str) -> None:
        calls.append(which)
        os.read(number, 1)
        loop.stop()

    loop.add_reader(number, got, "old")
    loop.call_later(0.02, reuse)
    loop.call_later(5, loop.stop)
    loop.run_forever()

    assert calls == ["new"]
    loop.close()
    os.close(number)
    for each in (old_sender, new_sender, new):
        each.close()


def a_descriptor_that_a_greenlet_reuses_leaves_the_loop_alone() -> None:
    loop = HubEventLoop()
    calls: list[str] = []
    old_sender, old = socket.socketpair()
    number = old.fileno()
    loop.add_reader(number, calls.append, "old")
    gevent.sleep(0.01)
    loop.remove_reader(number)
    old.close()
    old_sender.close()
    sender, receiver = socket.socketpair()
    assert number in (sender.fileno(), receiver.fileno())

    reading = gevent.spawn(receiver.recv, 10)
    gevent.sleep(0.01)
    sender.sendall(b"mine")

    assert reading.get(timeout=10) == b"mine"
    loop.call_later(0.05, loop.stop)
    loop.run_forever()
    assert calls == []
    loop.close()


def readiness_queues_a_handle_once_however_often_it_is_reported() -> None:
    loop = HubEventLoop()
    sender, receiver = socket.socketpair()
    sender.sendall(b"x")
    longest = 0

    def never_reads() -> None:
        nonlocal longest
        longest = max(longest, len(loop._ready))

    async def busy() -> None:
        for _ in range(200):
            time.sleep(0.0006)  # more than a slice, so that the hub polls before the handle runs
            await asyncio.sleep(0)

    loop.add_reader(receiver, never_reads)
    loop.run_until_complete(busy())
    loop.remove_reader(receiver)

    assert longest <= 2
    loop.close()


def a_cancelled_wait_for_a_socket_stops_watching_it() -> None:
    loop = HubEventLoop()
    sender, receiver = socket.socketpair()
    receiver.setblocking(False)

    async def give_up() -> bytes:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.sock_recv(receiver, 10), 0.01)
        sender.sendall(b"later")
        await asyncio.sleep(0.01)
        return await loop.sock_recv(receiver, 10)

    assert loop.run_until_complete(give_up()) == b"later"
    loop.close()


def closing_the_loop_closes_its_watchers() -> None:
    loop = HubEventLoop()
    sender, receiver = socket.socketpair()
    loop.add_reader(receiver, lambda: None)
    loop.add_writer(sender, lambda: None)
    watchers = [watch.watcher for watch in loop._watches._watches.values()]

    loop.close()

    assert len(watchers) == 2
    assert not any(watcher.active for watcher in watchers)
    with pytest.raises(RuntimeError, match="closed"):
        loop.add_reader(receiver, lambda: None)


def a_parked_loop_of_another_greenlet_does_not_end_the_main_one() -> None:
    loop = HubEventLoop()
    running = gevent.spawn(loop.run_forever)
    gevent.sleep(0.01)
    finished = threading.Event()

    gevent.get_hub().loop.run_callback(finished.set)
    finished.wait()

    loop.stop()
    running.get(timeout=10)
    loop.close()


def one_timer_is_armed_however_many_are_scheduled() -> None:
    loop = HubEventLoop()
    armed: list[object] = []

    async def schedule() -> None:
        timers = [loop.call_later(100 + number, lambda: None) for number in range(50)]
        for _ in range(50):
            await asyncio.sleep(0)
            await asyncio.to_thread(lambda: None)
            armed.append(loop._timer)
        for timer in timers:
            timer.cancel()

    loop.run_until_complete(schedule())

    assert armed[0] is not None
    assert all(timer is armed[0] for timer in armed)
    loop.close()


def signals_and_subprocesses_are_refused_in_words() -> None:
    loop = HubEventLoop()

    with pytest.raises(NotImplementedError, match=r"gevent\.signal_handler"):
        loop.add_signal_handler(signal.SIGTERM, lambda: None)
    with pytest.raises(NotImplementedError, match=r"gevent\.subprocess"):
        loop.run_until_complete(asyncio.create_subprocess_exec("true"))
    loop.close()


def a_killed_loop_greenlet_leaves_the_loop_stopped() -> None:
    loop = HubEventLoop()
    running = gevent.spawn(loop.run_forever)
    started = Event()
    loop.call_soon(started.set)
    assert started.wait(10)

    running.kill(timeout=10)

    eventually(running.ready)
    assert not loop.is_running()
    loop.close()
