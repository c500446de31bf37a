"""What a loop promises to coroutines and greenlets, whichever kind it is. Run in a patched child: see test_hub_loop."""

import asyncio
import contextvars
import gc
import socket
import sys
import threading
import time
from asyncio import events
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

import anyio.from_thread
import anyio.to_thread
import gevent
import httpx2
from gevent import monkey
from gevent.event import Event
from gevent.pywsgi import WSGIServer

from runtime.execution.bridge import LoopBridge
from tests.support.patched import eventually


@contextmanager
def _bridge(kind: str) -> Iterator[LoopBridge]:
    bridge = LoopBridge(cast(Literal["hub", "selector"], kind))
    bridge.start()
    try:
        yield bridge
    finally:
        bridge.close()


async def _nothing() -> None:
    pass


def an_event_set_by_a_coroutine_wakes_a_greenlet(kind: str) -> None:
    ready = Event()

    async def set_later() -> None:
        await asyncio.sleep(0.01)
        ready.set()
        await asyncio.sleep(60)

    with _bridge(kind) as bridge:
        bridge.submit(set_later())

        assert ready.wait(10)


def a_future_resolved_by_a_greenlet_wakes_the_parked_loop(kind: str) -> None:
    with _bridge(kind) as bridge:
        future: asyncio.Future[str] = bridge.loop.create_future()

        async def wait() -> str:
            return await future

        task = bridge.submit(wait())
        gevent.sleep(0.05)  # the loop parks with nothing to wake it
        future.set_result("woken")

        assert gevent.spawn(bridge.wait, task).get(timeout=10) == "woken"


def a_callback_from_another_os_thread_wakes_the_parked_loop(kind: str) -> None:
    start_thread = monkey.get_original("_thread", "start_new_thread")
    really_sleep = monkey.get_original("time", "sleep")

    with _bridge(kind) as bridge:
        future: asyncio.Future[str] = bridge.loop.create_future()

        async def wait() -> str:
            return await future

        def call() -> None:
            really_sleep(0.1)
            bridge.loop.call_soon_threadsafe(future.set_result, "woken")

        task = bridge.submit(wait())
        start_thread(call, ())

        # Without a timeout of its own: nothing but the parked loop keeps the hub from calling this a deadlock.
        assert bridge.wait(task) == "woken"


def a_timer_set_by_a_greenlet_wakes_a_loop_that_waits_for_a_later_one(kind: str) -> None:
    with _bridge(kind) as bridge:
        bridge.submit(asyncio.sleep(3600))
        gevent.sleep(0.02)
        called = Event()
        bridge.loop.call_later(0.01, called.set)

        assert called.wait(10)


def timers_run_in_the_order_of_their_deadlines(kind: str) -> None:
    order: list[int] = []

    async def collect() -> None:
        loop = asyncio.get_running_loop()
        for number in (3, 1, 4, 2, 5):
            loop.call_later(number * 0.02, order.append, number)
        await asyncio.sleep(0.2)

    with _bridge(kind) as bridge:
        bridge.run(collect())

    assert order == [1, 2, 3, 4, 5]


def cancelled_timers_never_run_and_are_not_kept(kind: str) -> None:
    called: list[int] = []

    async def schedule() -> int:
        loop = asyncio.get_running_loop()
        timers = [loop.call_later(0.05 + number / 1000, called.append, number) for number in range(500)]
        for timer in timers[:-1]:
            timer.cancel()
        await asyncio.sleep(0.01)
        kept = len(cast(Any, loop)._scheduled)
        eventually_last = loop.create_future()
        loop.call_at(timers[-1].when() + 0.001, eventually_last.set_result, None)
        await eventually_last
        return kept

    with _bridge(kind) as bridge:
        kept = bridge.run(schedule())

    assert called == [499]
    assert kept < 250


def a_timeout_cuts_a_wait(kind: str) -> None:
    async def wait() -> str:
        try:
            async with asyncio.timeout(0.02):
                await asyncio.sleep(60)
        except TimeoutError:
            return "cut"
        return "waited"

    with _bridge(kind) as bridge:
        assert bridge.run(wait()) == "cut"


def a_cancelled_task_runs_its_cleanup(kind: str) -> None:
    steps: list[str] = []

    async def work() -> None:
        try:
            steps.append("started")
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            steps.append("cleaned")

    with _bridge(kind) as bridge:
        task = bridge.submit(work())
        eventually(lambda: steps)
        task.cancel()
        eventually(task.done)

    assert task.cancelled()
    assert steps == ["started", "cleaned"]


def each_coroutine_has_the_context_of_the_greenlet_that_started_it(kind: str) -> None:
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant")
    wrong: list[tuple[str, str]] = []

    async def look(name: str) -> None:
        for _ in range(20):
            await asyncio.sleep(0.001)
            if tenant.get() != name:
                wrong.append((name, tenant.get()))

    with _bridge(kind) as bridge:

        def work(name: str) -> None:
            tenant.set(name)
            bridge.run(look(name))

        gevent.joinall([gevent.spawn(work, f"tenant-{n}") for n in range(20)], raise_error=True)

    assert wrong == []


def an_exception_in_a_callback_reaches_the_exception_handler(kind: str) -> None:
    reports: list[dict[str, Any]] = []

    with _bridge(kind) as bridge:
        bridge.loop.set_exception_handler(lambda _, report: reports.append(report))
        bridge.loop.call_soon(lambda: 1 // 0)
        eventually(lambda: reports)

        bridge.run(_nothing())

    assert isinstance(reports[0]["exception"], ZeroDivisionError)


def other_greenlets_never_see_the_running_loop(kind: str) -> None:
    seen: list[object] = []
    done = False

    def look() -> None:
        while not done:
            hooks = sys.get_asyncgen_hooks()
            seen.extend(found for found in (events._get_running_loop(), *hooks) if found is not None)
            gevent.sleep(0)

    async def work() -> asyncio.AbstractEventLoop:
        for _ in range(200):
            await asyncio.sleep(0)
        time.sleep(0.02)  # cooperative under gevent: this step of the coroutine parks with the marker up
        with anyio.move_on_after(0.01):
            await asyncio.sleep(60)
        assert sys.get_asyncgen_hooks().firstiter is not None
        return asyncio.get_running_loop()

    with _bridge(kind) as bridge:
        looker = gevent.spawn(look)
        running = bridge.run(work())
        done = True
        looker.get()

        assert running is bridge.loop
    assert seen == []


def a_synchronous_tool_may_run_a_loop_of_its_own(kind: str) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.001)

    async def inner() -> str:
        for _ in range(30):
            await asyncio.sleep(0.001)
            asyncio.get_running_loop()
        return "done"

    async def outer() -> str:
        result = await anyio.to_thread.run_sync(lambda: asyncio.run(inner()))
        asyncio.get_running_loop()
        return result

    with _bridge(kind) as bridge:
        ticking = bridge.submit(tick())
        before = ticks

        assert bridge.run(outer()) == "done"
        assert not ticking.done()
        assert ticks > before


def a_forgotten_async_generator_is_closed_by_the_loop(kind: str) -> None:
    closed = Event()

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.set()

    async def forget() -> None:
        async for _ in numbers():
            break

    with _bridge(kind) as bridge:
        bridge.run(forget())
        gc.collect()

        assert closed.wait(10)


def busy_coroutines_leave_turns_to_greenlets(kind: str) -> None:
    turns = 0

    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    with _bridge(kind) as bridge:
        for _ in range(20):
            bridge.submit(spin())
        while turns < 20:
            gevent.sleep(0.001)
            turns += 1

    assert turns == 20


def timers_that_are_always_due_leave_turns_to_greenlets(kind: str) -> None:
    with _bridge(kind) as bridge:
        loop = bridge.loop

        def again() -> None:
            loop.call_at(loop.time(), again)

        loop.call_soon(again)

        for _ in range(20):
            gevent.sleep(0.001)


def busy_coroutines_see_their_sockets_and_timers(kind: str) -> None:
    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    async def receive(receiver: socket.socket) -> bytes:
        await asyncio.sleep(0.005)
        return await asyncio.get_running_loop().sock_recv(receiver, 10)

    with _bridge(kind) as bridge:
        bridge.submit(spin())
        sender, receiver = socket.socketpair()
        receiver.setblocking(False)
        task = bridge.submit(receive(receiver))
        gevent.sleep(0.02)
        sender.sendall(b"hello")

        assert bridge.wait(task) == b"hello"


def synchronous_calls_run_beside_each_other_far_beyond_anyios_forty(kind: str) -> None:
    calls = 200
    barrier = threading.Barrier(calls, timeout=20)

    async def call_all() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(calls):
                group.create_task(anyio.to_thread.run_sync(barrier.wait))

    with _bridge(kind) as bridge:
        bridge.run(call_all())

    assert not barrier.broken


def executor_calls_run_beside_each_other(kind: str) -> None:
    calls = 100
    barrier = threading.Barrier(calls, timeout=20)

    async def call_all() -> list[int]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*[loop.run_in_executor(None, barrier.wait) for _ in range(calls)])

    with _bridge(kind) as bridge:
        assert sorted(bridge.run(call_all())) == list(range(calls))


def a_synchronous_tool_may_call_back_into_the_loop(kind: str) -> None:
    async def double(number: int) -> int:
        await asyncio.sleep(0.001)
        return number * 2

    async def call() -> int:
        return await anyio.to_thread.run_sync(lambda: anyio.from_thread.run(double, 21))

    with _bridge(kind) as bridge:
        assert bridge.run(call()) == 42


def executor_calls_return_and_raise(kind: str) -> None:
    def fail(error: BaseException) -> None:
        raise error

    async def outcome_of(error: BaseException) -> str:
        try:
            await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(None, fail, error), 10)
        except BaseException as caught:
            return type(caught).__name__
        return "nothing"

    async def result() -> int:
        return await asyncio.get_running_loop().run_in_executor(None, pow, 2, 10)

    with _bridge(kind) as bridge:
        assert bridge.run(result()) == 1024
        assert bridge.run(outcome_of(KeyError("x"))) == "KeyError"
        assert bridge.run(outcome_of(gevent.Timeout(1))) == "Timeout"
        assert bridge.run(outcome_of(StopIteration())) == "RuntimeError"


def names_are_resolved_while_the_loop_goes_on(kind: str) -> None:
    async def resolve() -> list[Any]:
        return await asyncio.get_running_loop().getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)

    with _bridge(kind) as bridge:
        found = bridge.run(resolve())

    assert {address[4][0] for address in found} <= {"127.0.0.1", "::1"}
    assert found


def http_responses_stream_chunk_by_chunk(kind: str) -> None:
    step = Event()

    def serve(_: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        for number in range(5):
            step.wait()
            step.clear()
            yield b"chunk %d\n" % number

    server = WSGIServer(("127.0.0.1", 0), serve, log=None)
    server.start()

    async def read() -> list[str]:
        lines = []
        async with (
            httpx2.AsyncClient(timeout=20) as client,
            client.stream("GET", f"http://localhost:{server.server_port}/") as response,
        ):
            # The server sends a chunk only when the one before it was read.
            step.set()
            async for line in response.aiter_lines():
                lines.append(line)
                step.set()
        return lines

    with _bridge(kind) as bridge:
        greenlet = gevent.spawn(bridge.run, read())
        step.set()

        assert greenlet.get(timeout=30) == [f"chunk {number}" for number in range(5)]
    server.stop()


def many_http_requests_share_connections_and_descriptors(kind: str) -> None:
    def serve(environ: Any, start_response: Any) -> list[bytes]:
        headers = [("Connection", "close")] if environ["PATH_INFO"].endswith(("3", "7")) else []
        start_response("200 OK", headers)
        return [environ["PATH_INFO"].encode()]

    server = WSGIServer(("127.0.0.1", 0), serve, log=None)
    server.start()

    async def fetch() -> list[str]:
        async with httpx2.AsyncClient(timeout=20) as client:

            async def get(number: int) -> str:
                return (await client.get(f"http://127.0.0.1:{server.server_port}/{number}")).text

            return [text for start in range(0, 300, 30) for text in await _together(get, range(start, start + 30))]

    with _bridge(kind) as bridge:
        assert bridge.run(fetch()) == [f"/{number}" for number in range(300)]
    server.stop()


async def _together(function: Any, numbers: range) -> list[Any]:
    return await asyncio.gather(*[function(number) for number in numbers])


def a_cancelled_http_call_closes_its_connection(kind: str) -> None:
    began, gone = Event(), Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nfirst")
        began.set()
        try:
            rest = connection.recv(65536)
        except ConnectionResetError:
            rest = b""
        if rest == b"":
            gone.set()

    async def read() -> None:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        async with httpx2.AsyncClient(timeout=60) as client, client.stream("GET", url) as response:
            async for _ in response.aiter_bytes():
                pass

    server = gevent.spawn(serve)
    with _bridge(kind) as bridge:
        task = bridge.submit(read())
        assert began.wait(10)
        task.cancel()

        assert gone.wait(10)
    server.get(timeout=10)


def megabytes_pass_both_ways_through_a_slow_reader(kind: str) -> None:
    payload = bytes(range(256)) * 16384

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(50_000):
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    async def exchange() -> bytes:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())

        async def send() -> None:
            writer.write(payload)
            await writer.drain()
            writer.write_eof()

        sending = asyncio.ensure_future(send())
        received = await reader.read()
        await sending
        writer.close()
        server.close()
        return received

    with _bridge(kind) as bridge:
        assert bridge.run(exchange()) == payload


def a_callback_for_a_socket_can_be_replaced(kind: str) -> None:
    with _bridge(kind) as bridge:
        sender, receiver = socket.socketpair()
        first, second = Event(), Event()
        bridge.loop.add_reader(receiver, first.set)
        gevent.sleep(0.01)
        bridge.loop.add_reader(receiver, second.set)
        sender.sendall(b"x")

        assert second.wait(10)
        assert not first.is_set()
        assert bridge.loop.remove_reader(receiver)
        assert not bridge.loop.remove_reader(receiver)


def the_debug_mode_allows_calls_of_other_greenlets(kind: str) -> None:
    with _bridge(kind) as bridge:
        bridge.loop.set_debug(True)
        called = Event()
        bridge.loop.call_soon(called.set)

        assert called.wait(10)
        bridge.run(asyncio.sleep(0.001))


def agents_with_synchronous_tools_run_beside_each_other(kind: str) -> None:
    from pydantic_ai import Agent
    from pydantic_ai.models.test import TestModel

    agents = 50
    calls: list[str] = []

    def look_up(word: str) -> str:
        """Look a word up."""
        time.sleep(0.01)
        calls.append(word)
        return "found"

    async def answer() -> str:
        agent = Agent(TestModel(), tools=[look_up])
        async with agent.run_stream("hello") as stream:
            return await stream.get_output()

    with _bridge(kind) as bridge:
        greenlets = [gevent.spawn(bridge.run, answer()) for _ in range(agents)]
        outputs = [greenlet.get(timeout=50) for greenlet in greenlets]

    assert len(outputs) == agents
    assert len(calls) == agents
    assert all("found" in output for output in outputs)


def hundreds_of_greenlets_leave_nothing_behind(kind: str) -> None:
    async def work(number: int) -> int:
        async with asyncio.timeout(20):
            await asyncio.sleep(0.001)
        return number

    with _bridge(kind) as bridge:
        for _ in range(3):
            greenlets = [gevent.spawn(bridge.run, work(number)) for number in range(500)]
            assert [greenlet.get(timeout=30) for greenlet in greenlets] == list(range(500))

        eventually(lambda: asyncio.all_tasks(bridge.loop) == set())


def greenlets_and_coroutines_play_ping_pong(kind: str) -> None:
    rounds = 300

    with _bridge(kind) as bridge:
        balls: list[asyncio.Future[int]] = [bridge.loop.create_future() for _ in range(rounds)]
        returned = Event()

        async def pong() -> None:
            for number, ball in enumerate(balls):
                assert await ball == number
                returned.set()

        task = bridge.submit(pong())
        for number, ball in enumerate(balls):
            returned.clear()
            ball.set_result(number)
            assert returned.wait(10)

        bridge.wait(task)
