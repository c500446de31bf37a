"""The dashboard's feed: one WebSocket follows many runs, and the list of runs as they start and end."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from simple_websocket import ConnectionClosed
from wsproto.connection import Connection, ConnectionType
from wsproto.events import Ping, TextMessage

from tests.conftest import StartServer, environment
from tests.support.client import DEADLINE_SECONDS, RunClient, demo_llm, plugin_layers, prompt
from tests.support.feed_client import EVENT_TYPES, FeedClient, Message
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_server import RedisServer, running_redis
from tests.support.socket_client import UPGRADE

PREFIX = "feed"
OPERATOR = "operator-token-of-the-tests"
SETTINGS = {"admin_token": OPERATOR}
UNKNOWN_RUN = "01a1f884-b753-710d-b464-93120ce7b7ee"
MANY = 200
LARGE_CHUNKS = 800
STALL_SECONDS = 4.0
LONGEST_MESSAGE = 64 * 1024
PING_FRAME = b"\x89\x00"
WORKER_STOPS = (1012, "the worker stops: connect again with the id of the last event")


@pytest.fixture(scope="module")
def serving(redis_server: RedisServer, daemon: ScriptedDaemon) -> Iterator[GunicornServer]:
    """A server with two workers and an operator's token, on which ``/runs`` is open."""
    env = environment(redis_server.url, daemon.url, redis_prefix=PREFIX, **SETTINGS)
    with running_server(env, workers=2) as server:
        yield server


@pytest.fixture
def client(serving: GunicornServer) -> RunClient:
    return RunClient(serving.url)


@pytest.fixture
def feed(serving: GunicornServer) -> Iterator[FeedClient]:
    one = FeedClient(serving.url, token=OPERATOR)
    yield one
    one.close()


def hanging_run(client: RunClient, daemon: ScriptedDaemon, model: str) -> str:
    daemon.script(model, [{"text": "begun"}, {"hang": True}])
    run_id = client.create(prompt(), *plugin_layers(model))
    daemon.wait_for_call(model)
    return run_id


def stored_events(client: RunClient, run_id: str) -> list[Message]:
    return [frame.data for frame in client.follow(run_id)]


def on_two_workers(url: str, storage: redis.Redis, **model: Any) -> tuple[str, str]:
    """Starts two runs that different workers execute."""
    first: dict[str, str] = {}
    for _ in range(200):
        run_id = RunClient(url).create(prompt(), demo_llm(**model))
        record = json.loads(str(storage.get(f"{PREFIX}:runs:{run_id}:record")))
        first.setdefault(record["worker"], run_id)
        if len(first) == 2:
            one, two = first.values()
            return one, two
    raise AssertionError("one worker took every run")


def bare_connection(url: str) -> socket.socket:
    """A raw connection after the handshake; nothing answers its pings."""
    address = urlsplit(url)
    sock = socket.create_connection((address.hostname or "", address.port or 80), DEADLINE_SECONDS)
    headers = {**UPGRADE, "Host": "test", "Authorization": f"Bearer {OPERATOR}"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    sock.sendall(f"GET /events/ws HTTP/1.1\r\n{lines}\r\n".encode())
    assert receive_until(sock, lambda received: received.endswith(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    return sock


def receive_until(sock: socket.socket, enough: Callable[[bytes], bool]) -> bytes:
    received = b""
    while not enough(received):
        data = sock.recv(4096)
        assert data, f"the connection ended behind {received[-200:]!r}"
        received += data
    return received


def vanish(url: str, run_ids: list[str], *, reset: bool) -> None:
    """Subscribes to the list and to these runs, and disconnects abruptly."""
    protocol = Connection(ConnectionType.CLIENT)
    with bare_connection(url) as sock:
        commands = [{"type": "subscribe_runs"}, *({"type": "subscribe", "run_id": run_id} for run_id in run_ids)]
        for command in commands:
            sock.sendall(protocol.send(TextMessage(json.dumps(command))))
        receive_until(sock, lambda all_: all_.count(b'"run_started"') == len(run_ids) and b'"runs"' in all_)
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_one_connection_follows_runs_of_different_workers(
    client: RunClient, feed: FeedClient, redis_server: RedisServer
) -> None:
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as storage:
        run_ids = on_two_workers(client.url, storage, answer="a\u2028b " * 30, delay_ms=20)

    for run_id in run_ids:
        feed.subscribe(run_id)
    for _ in run_ids:
        feed.receive_until(lambda message: message["type"] == "unsubscribed")

    for run_id in run_ids:
        assert feed.events_of(run_id) == stored_events(client, run_id)
        own = [one["type"] for one in feed.messages if one["run_id"] == run_id]
        assert (own[0], own[-1], own.count("unsubscribed")) == ("subscribed", "unsubscribed", 1)
    assert {one["reason"] for one in feed.messages if one["type"] == "unsubscribed"} == {"run_ended"}


def test_two_hundred_runs_are_followed_at_once_by_one_connection(client: RunClient, feed: FeedClient) -> None:
    runs = [client.create(prompt(), demo_llm(answer="one two three", delay_ms=200)) for _ in range(MANY)]

    for run_id in runs:
        feed.subscribe(run_id)
    for _ in runs:
        feed.receive_until(lambda message: message["type"] == "unsubscribed")

    assert [one for one in feed.messages if one["type"] == "error"] == []
    for run_id in runs:
        events = feed.events_of(run_id)
        assert [events[0]["type"], events[-1]["type"]] == ["run_started", "run_succeeded"]
        assert len({event["id"] for event in events}) == len(events)
        text = "".join(event.get("agent_message_delta") or "" for event in events)
        assert text == events[-1]["data"]["output"] == "one two three"


def test_more_subscriptions_than_allowed_are_refused_and_the_others_go_on(
    start_server: StartServer, daemon: ScriptedDaemon
) -> None:
    server = start_server(SETTINGS, redis_prefix="feed-most", max_subscriptions=2)
    client = RunClient(server.url)
    runs = [hanging_run(client, daemon, f"most-{number}") for number in range(3)]
    feed = FeedClient(server.url, token=OPERATOR)

    for run_id in runs:
        feed.subscribe(run_id)
    refused = feed.wait_for("error")
    client.cancel(runs[0])
    feed.wait_for("unsubscribed", run_id=runs[0])
    feed.subscribe(runs[2])

    assert (refused["code"], refused["run_id"]) == ("too_many_subscriptions", runs[2])
    assert feed.wait_for("subscribed", run_id=runs[2])["status"] == "running"
    for run_id in runs[1:]:
        client.cancel(run_id)
        assert feed.wait_for("unsubscribed", run_id=run_id)["reason"] == "run_ended"
    feed.close()


def test_a_subscription_begins_behind_its_cursor(client: RunClient, feed: FeedClient) -> None:
    run_id = client.create(prompt(), demo_llm(answer="one two three"))
    whole = stored_events(client, run_id)

    feed.subscribe(run_id, after=whole[2]["id"])
    first = feed.wait_for("unsubscribed")
    middle = feed.events_of(run_id)
    feed.messages.clear()
    feed.subscribe(run_id, after=whole[-1]["id"])
    feed.wait_for("unsubscribed")

    assert middle == whole[3:]
    assert [one["type"] for one in feed.messages] == ["subscribed", "unsubscribed"]
    assert feed.messages[0] == {"type": "subscribed", "run_id": run_id, "status": "succeeded"}
    assert first == {"type": "unsubscribed", "run_id": run_id, "reason": "run_ended"}


def test_a_run_whose_events_are_lost_is_reported_as_gone(
    client: RunClient, feed: FeedClient, redis_server: RedisServer, daemon: ScriptedDaemon
) -> None:
    run_id = hanging_run(client, daemon, "feed-lost")
    with redis.Redis.from_url(redis_server.url) as storage:
        storage.delete(f"{PREFIX}:runs:{run_id}:events")

    feed.subscribe(run_id)

    assert feed.wait_for("unsubscribed")["reason"] in ("run_gone", "run_ended")  # its worker may have noticed first
    client.cancel(run_id)


def test_the_list_shows_the_running_runs_and_then_every_start_and_end_once(
    client: RunClient, feed: FeedClient, daemon: ScriptedDaemon
) -> None:
    before = hanging_run(client, daemon, "feed-before")
    ended = client.create(prompt())
    client.finish(ended)

    snapshot = feed.follow_runs()
    after = [client.create(prompt()), client.create(prompt(), demo_llm(fail="out of order"))]
    for run_id in after:
        client.finish(run_id)
    client.cancel(before)
    feed.wait_for_run(before, "cancelled")

    listed = {run["run_id"]: run["status"] for run in snapshot}
    assert listed[before] == "running"
    assert ended not in listed
    told = [(one["run"]["run_id"], one["run"]["status"]) for one in feed.messages if one["type"] == "run"]
    assert [status for run_id, status in told if run_id == after[0]] == ["running", "succeeded"]
    assert [status for run_id, status in told if run_id == after[1]] == ["running", "failed"]
    assert [status for run_id, status in told if run_id == before] == ["cancelled"]
    shapes = {tuple(one["run"]) for one in feed.messages if one["type"] == "run"} | {tuple(run) for run in snapshot}
    assert shapes == {("run_id", "status", "created_at", "updated_at")}


def test_no_run_is_missing_between_the_snapshot_and_the_feed(client: RunClient) -> None:
    stop = threading.Event()
    made: list[str] = []

    def make_runs() -> None:
        own = RunClient(client.url)
        while not stop.is_set():
            made.append(own.create(prompt(), demo_llm(answer="one two", delay_ms=50)))

    maker = threading.Thread(target=make_runs)
    maker.start()
    try:
        feeds = [FeedClient(client.url, token=OPERATOR) for _ in range(10)]
        snapshots = [feed.follow_runs() for feed in feeds]
    finally:
        stop.set()
        maker.join()
    for run_id in made:
        client.finish(run_id)
    made.append(client.create(prompt()))

    for feed, snapshot in zip(feeds, snapshots, strict=True):
        feed.wait_for_run(made[-1], "succeeded")
        running = {run["run_id"] for run in snapshot} & set(made)
        told = [(one["run"]["run_id"], one["run"]["status"]) for one in feed.messages if one["type"] == "run"]
        started = [run_id for run_id, status in told if status == "running" and run_id in made]
        ended = [run_id for run_id, status in told if status == "succeeded" and run_id in made]
        assert started == made[-len(started) :]
        assert running.isdisjoint(started)
        assert sorted(ended) == sorted([*running, *started])
        feed.close()


def test_the_list_resumes_behind_its_cursor_and_begins_anew_when_that_is_unknown(
    client: RunClient, feed: FeedClient
) -> None:
    feed.follow_runs()
    first = client.create(prompt())
    cursor = feed.wait_for_run(first, "running")["id"]
    feed.close()
    client.finish(first)
    second = client.create(prompt())
    client.finish(second)

    resumed = FeedClient(client.url, token=OPERATOR)
    resumed.send({"type": "subscribe_runs", "after": cursor})
    resumed.wait_for_run(second, "succeeded")
    resumed.send({"type": "unsubscribe_runs"})
    resumed.wait_for("unsubscribed_runs")
    told = [(one["run"]["run_id"], one["run"]["status"]) for one in resumed.messages if one["type"] == "run"]

    assert resumed.messages[0] == {"type": "subscribed_runs", "resumed": True}
    assert "runs" not in {one["type"] for one in resumed.messages}
    assert told == [(first, "succeeded"), (second, "running"), (second, "succeeded")]
    for unknown in ("1-1", "0", f"{2**64 - 1}-{2**64 - 1}"):
        assert isinstance(resumed.follow_runs(after=unknown), list)
        resumed.send({"type": "unsubscribe_runs"})
        resumed.wait_for("unsubscribed_runs")
    resumed.close()


def test_a_long_list_comes_in_pages(start_server: StartServer) -> None:
    server = start_server(SETTINGS, redis_prefix="feed-pages")
    client = RunClient(server.url)
    runs = {client.create(prompt(), demo_llm(answer="one two", delay_ms=60_000)) for _ in range(101)}
    feed = FeedClient(server.url, token=OPERATOR)

    snapshot = feed.follow_runs()

    pages = [one for one in feed.messages if one["type"] == "runs"]
    assert [(len(page["runs"]), page["more"], page["id"] is None) for page in pages] == [
        (100, True, True),
        (1, False, False),
    ]
    assert {run["run_id"] for run in snapshot} == runs
    feed.close()


def test_a_cancelled_run_ends_its_subscriptions(client: RunClient, feed: FeedClient, daemon: ScriptedDaemon) -> None:
    run_id = hanging_run(client, daemon, "feed-cancelled")
    feed.subscribe(run_id)
    feed.wait_for("run_started")

    client.cancel(run_id, {"reason": "user"})
    terminal = feed.wait_for("run_cancelled", run_id=run_id)

    assert terminal["data"] == {"reason": "user"}
    assert feed.receive() == {"type": "unsubscribed", "run_id": run_id, "reason": "run_ended"}


def test_nothing_of_a_run_comes_after_its_unsubscribed(client: RunClient, feed: FeedClient) -> None:
    run_id = client.create(prompt(), demo_llm(answer="word " * 200, delay_ms=10))

    for _ in range(50):
        feed.subscribe(run_id)
        feed.send({"type": "unsubscribe", "run_id": run_id})
    for _ in range(50):
        feed.wait_for("unsubscribed", reason="requested")
    raced, feed.messages = feed.messages, []
    feed.subscribe(run_id)
    feed.wait_for("unsubscribed", reason="run_ended")

    whole = feed.events_of(run_id)
    assert whole == stored_events(client, run_id)
    stretch: list[Message] | None = None
    for message in raced:
        if message["type"] == "subscribed":
            assert stretch is None
            stretch = []
        elif message["type"] == "unsubscribed":
            assert stretch is not None or message["reason"] == "requested"
            assert (stretch or []) == whole[: len(stretch or [])]
            stretch = None
        else:
            assert stretch is not None, f"{message} came outside of a subscription"
            stretch.append(message)


def test_unsubscribing_from_what_is_not_followed_is_no_error(feed: FeedClient) -> None:
    feed.send({"type": "unsubscribe", "run_id": UNKNOWN_RUN})
    feed.send({"type": "unsubscribe_runs"})

    assert feed.receive() == {"type": "unsubscribed", "run_id": UNKNOWN_RUN, "reason": "requested"}
    assert feed.receive() == {"type": "unsubscribed_runs"}


def test_subscribing_twice_is_refused_and_the_first_goes_on(
    client: RunClient, feed: FeedClient, daemon: ScriptedDaemon
) -> None:
    run_id = hanging_run(client, daemon, "feed-twice")
    feed.subscribe(run_id)
    feed.follow_runs()

    feed.subscribe(run_id)
    again = feed.wait_for("error")
    feed.send({"type": "subscribe_runs"})
    list_again = feed.wait_for("error")
    client.cancel(run_id)

    assert (again["code"], again["run_id"]) == ("already_subscribed", run_id)
    assert list_again["code"] == "already_subscribed"
    feed.wait_for_run(run_id, "cancelled")
    ids = [event["id"] for event in stored_events(client, run_id)]
    while len(feed.events_of(run_id)) < len(ids):
        feed.receive()
    assert [event["id"] for event in feed.events_of(run_id)] == ids


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "invalid_json"),
        ("[" * 50_000, "invalid_json"),
        ("[]", "invalid_param"),
        (b'{"type": "ping"}', "binary_message"),
        ({"type": "cancel"}, "unknown_type"),
        ({"type": ["subscribe"]}, "unknown_type"),
        ({"run_id": UNKNOWN_RUN}, "unknown_type"),
        ({"type": "subscribe"}, "invalid_param"),
        ({"type": "subscribe", "run_id": 1}, "invalid_param"),
        ({"type": "subscribe", "run_id": "x" * 101}, "invalid_param"),
        ({"type": "subscribe", "run_id": UNKNOWN_RUN, "after": "1-x"}, "invalid_param"),
        ({"type": "subscribe", "run_id": UNKNOWN_RUN, "after": 1}, "invalid_param"),
        ({"type": "subscribe", "run_id": UNKNOWN_RUN, "before": "1"}, "invalid_param"),
        ({"type": "subscribe_runs", "after": str(2**64)}, "invalid_param"),
        ({"type": "unsubscribe"}, "invalid_param"),
        ({"type": "subscribe", "run_id": UNKNOWN_RUN}, "run_not_found"),
        ({"type": "subscribe", "run_id": "no-uuid", "after": ""}, "run_not_found"),
    ],
)
def test_a_message_that_cannot_be_obeyed_is_answered_and_the_connection_goes_on(
    feed: FeedClient, message: object, code: str
) -> None:
    feed.send(message)
    feed.send({"type": "ping"})

    error, pong = feed.receive(), feed.receive()

    assert (error["type"], error["code"]) == ("error", code)
    assert set(error) - {"run_id"} == {"type", "code", "message"}
    named = message.get("run_id") if isinstance(message, dict) else None
    assert error.get("run_id") == (named if isinstance(named, str) and len(named) <= 100 else None)
    assert pong == {"type": "pong"}


def test_a_client_whose_messages_are_all_refused_is_cut_and_others_go_on(serving: GunicornServer) -> None:
    noisy, quiet = (FeedClient(serving.url, token=OPERATOR) for _ in range(2))

    for _ in range(21):
        noisy.send("{}")
    messages = noisy.rest()
    quiet.send({"type": "ping"})

    assert [message["type"] for message in messages] == ["error"] * 20
    assert noisy.closed == (1008, "too many messages were refused")
    assert quiet.receive() == {"type": "pong"}
    quiet.close()


def test_an_oversized_message_ends_the_connection_with_1009(feed: FeedClient) -> None:
    feed.send("x" * (LONGEST_MESSAGE + 1))

    feed.rest()

    assert feed.closed == (1009, "Message is too big")


def test_a_reader_that_stalls_gets_every_large_message_intact_and_holds_up_nobody(
    client: RunClient, daemon: ScriptedDaemon
) -> None:
    daemon.script(
        "feed-large", [{"stream": {"chunks": LARGE_CHUNKS, "rate": 0, "text": "x" * 10_000}}, {"finish": "stop"}]
    )
    runs = [client.create(prompt(), *plugin_layers("feed-large")) for _ in range(2)]
    gate = threading.Event()
    stalled, brisk = FeedClient(client.url, token=OPERATOR, gate=gate), FeedClient(client.url, token=OPERATOR)
    for one in (stalled, brisk):
        for run_id in runs:
            one.subscribe(run_id)
    # Frames that other greenlets write in between: answers to pings and to messages.
    for _ in range(5):
        stalled.client.sock.sendall(stalled.client.ws.send(Ping(b"still there")))
        stalled.send({"type": "ping"})

    for _ in runs:
        brisk.receive_until(lambda message: message["type"] == "unsubscribed")
    time.sleep(STALL_SECONDS)  # the stall is what is tested
    gate.set()
    for _ in runs:
        stalled.receive_until(lambda message: message["type"] == "unsubscribed")

    for run_id in runs:
        events = stalled.events_of(run_id)
        assert events == brisk.events_of(run_id)
        assert events[-1]["data"]["output"] == "x" * 10_000 * LARGE_CHUNKS
    assert sum(message["type"] == "pong" for message in stalled.messages) == 5
    stalled.close()
    brisk.close()


@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
def test_a_client_that_vanishes_leaves_nothing_behind(
    start_server: StartServer, daemon: ScriptedDaemon, reset: bool
) -> None:
    prefix = f"feed-gone-{reset}"
    executing = RunClient(start_server(redis_prefix=prefix).url)
    viewing = start_server(SETTINGS, redis_prefix=prefix, shutdown_grace_seconds=60)
    runs = [hanging_run(executing, daemon, f"{prefix}-{number}") for number in range(3)]

    for _ in range(5):
        vanish(viewing.url, runs, reset=reset)
    begun = time.monotonic()
    code = viewing.stop()

    assert code == 0
    assert time.monotonic() - begun < 15  # the worker waits for its subscribers as long as the grace
    assert "draining: 0 runs, 0 subscribers" in viewing.log
    for run_id in runs:
        executing.cancel(run_id)


def test_a_connection_without_runs_does_not_hold_up_a_worker_that_stops(start_server: StartServer) -> None:
    server = start_server(SETTINGS, redis_prefix="feed-idle", shutdown_grace_seconds=60)
    idle, listing = (FeedClient(server.url, token=OPERATOR) for _ in range(2))
    listing.follow_runs()

    begun = time.monotonic()
    code = server.stop()

    assert code == 0
    assert time.monotonic() - begun < 20
    for one in (idle, listing):
        one.rest()
        assert one.closed == WORKER_STOPS


def test_a_run_is_followed_to_its_end_within_the_grace(start_server: StartServer) -> None:
    server = start_server(SETTINGS, redis_prefix="feed-grace", shutdown_grace_seconds=40)
    client = RunClient(server.url)
    run_id = client.create(prompt(), demo_llm(answer="word " * 60, delay_ms=100))
    feed = FeedClient(server.url, token=OPERATOR)
    feed.follow_runs()
    feed.subscribe(run_id)
    feed.wait_for("run_started")

    code = server.stop()
    feed.rest()

    assert code == 0
    assert feed.events_of(run_id)[-1]["type"] == "run_succeeded"
    assert feed.closed == WORKER_STOPS


def test_subscriptions_to_runs_of_another_server_are_cut_when_the_grace_is_over(
    start_server: StartServer, daemon: ScriptedDaemon
) -> None:
    executing = RunClient(start_server(redis_prefix="feed-cut").url)
    viewing = start_server(SETTINGS, redis_prefix="feed-cut", shutdown_grace_seconds=1)
    run_id = hanging_run(executing, daemon, "feed-cut")
    feeds = [FeedClient(viewing.url, token=OPERATOR) for _ in range(5)]
    for feed in feeds:
        feed.follow_runs()
        feed.subscribe(run_id)
        feed.wait_for("run_started")

    code = viewing.stop()

    assert code == 0
    for feed in feeds:
        feed.rest()
        assert feed.closed == WORKER_STOPS
        assert feed.messages[-1]["type"] in EVENT_TYPES
    executing.cancel(run_id)


def test_a_reader_that_takes_nothing_does_not_hold_up_a_worker_that_stops(
    start_server: StartServer, daemon: ScriptedDaemon
) -> None:
    server = start_server(SETTINGS, redis_prefix="feed-stuck", shutdown_grace_seconds=1)
    client = RunClient(server.url)
    daemon.script("feed-stuck", [{"stream": {"chunks": LARGE_CHUNKS, "rate": 0, "text": "x" * 10_000}}, {"hang": True}])
    runs = [client.create(prompt(), *plugin_layers("feed-stuck")) for _ in range(2)]
    gate = threading.Event()
    stuck, brisk = FeedClient(server.url, token=OPERATOR, gate=gate), FeedClient(server.url, token=OPERATOR)
    for one in (stuck, brisk):
        for run_id in runs:
            one.subscribe(run_id)
    expected = 10_000 * LARGE_CHUNKS
    for run_id in runs:
        while sum(len(event.get("agent_message_delta") or "") for event in brisk.events_of(run_id)) < expected:
            brisk.receive()

    begun = time.monotonic()
    code = server.stop()
    brisk.rest()
    gate.set()

    assert code == 0
    assert time.monotonic() - begun < 15
    assert brisk.closed == WORKER_STOPS
    assert {brisk.events_of(run_id)[-1]["type"] for run_id in runs} == {"run_failed"}
    stuck.rest()


def test_an_idle_connection_is_pinged_within_fifteen_seconds(serving: GunicornServer) -> None:
    with bare_connection(serving.url) as sock:
        sock.settimeout(18)

        assert receive_until(sock, lambda received: PING_FRAME in received) == PING_FRAME


def test_a_client_is_asked_to_reconnect_when_redis_is_away(daemon: ScriptedDaemon) -> None:
    with running_redis() as storage, running_server(environment(storage.url, daemon.url, **SETTINGS)) as server:
        run_id = RunClient(server.url).create(prompt())
        RunClient(server.url).finish(run_id)  # otherwise its worker would still know the run without Redis
        feed = FeedClient(server.url, token=OPERATOR)
        storage.stop()

        feed.subscribe(run_id)

        with pytest.raises(ConnectionClosed):
            feed.receive()
        assert feed.closed == (1013, "storage_unavailable")
