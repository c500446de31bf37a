"""Following runs over WebSockets: the events of the stream, resuming, cancelling, pings, and how connections end."""

from __future__ import annotations

import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from simple_websocket import ConnectionClosed
from wsproto.events import Ping

from tests.conftest import StartServer
from tests.support.client import RunClient, demo_llm, plugin_layers, prompt, wait_until
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.socket_client import UPGRADE, BareSocket, SocketClient, events_path

SOCKETS = 50
LARGE_CHUNKS = 1500
STALL_SECONDS = 4.0
PING_FRAME = b"\x89\x00"
LONGEST_MESSAGE = 64 * 1024


def events_of(client: RunClient, run_id: str) -> list[dict[str, Any]]:
    return [frame.data for frame in client.follow(run_id)]


def hanging_run(client: RunClient, daemon: ScriptedDaemon, model: str) -> str:
    daemon.script(model, [{"text": "begun"}, {"hang": True}])
    run_id = client.create(prompt(), *plugin_layers(model))
    daemon.wait_for_call(model)
    return run_id


def test_a_socket_carries_the_events_of_the_stream_and_says_how_the_run_ended(client: RunClient) -> None:
    run_id = client.create(prompt(), demo_llm(answer="a\u2028b " * 30, delay_ms=10))

    live = SocketClient(client.url, run_id)
    messages = live.rest()
    history = SocketClient(client.url, run_id)

    assert messages == events_of(client, run_id)
    assert live.closed == (1000, "run_succeeded")
    assert history.rest() == messages
    assert history.closed == (1000, "run_succeeded")


def test_a_failed_run_closes_its_sockets_with_its_terminal_event(client: RunClient) -> None:
    run_id = client.create(prompt(), demo_llm(fail="out of order"))

    viewer = SocketClient(client.url, run_id)

    assert viewer.rest()[-1]["type"] == "run_failed"
    assert viewer.closed == (1000, "run_failed")


def test_a_socket_resumes_behind_a_cursor(client: RunClient) -> None:
    run_id = client.create(prompt(), demo_llm(answer="one two three"))
    whole = events_of(client, run_id)

    middle = SocketClient(client.url, run_id, query=f"?after={whole[2]['id']}")
    end = SocketClient(client.url, run_id, query=f"?after={whole[-1]['id']}")

    assert middle.rest() == whole[3:]
    assert end.rest() == []
    assert end.closed == (1000, "ended")


def test_fifty_sockets_follow_their_runs_whole_at_the_same_time(client: RunClient, daemon: ScriptedDaemon) -> None:
    daemon.script("fifty-sockets", [{"stream": {"chunks": 100, "rate": 0, "text": "word "}}, {"finish": "stop"}])

    def follow_one(_: int) -> bool:
        own = RunClient(client.url)
        run_id = own.create(prompt(), *plugin_layers("fifty-sockets"))
        viewer = SocketClient(own.url, run_id)
        messages = viewer.rest()
        assert viewer.closed == (1000, "run_succeeded")
        assert messages[-1]["data"]["output"] == "word " * 100
        return messages == events_of(own, run_id)

    with ThreadPoolExecutor(SOCKETS) as viewers:
        assert all(viewers.map(follow_one, range(SOCKETS)))


def test_a_reader_that_stalls_gets_every_large_message_intact(client: RunClient, daemon: ScriptedDaemon) -> None:
    large: list[dict[str, Any]] = [
        {"stream": {"chunks": LARGE_CHUNKS, "rate": 0, "text": "x" * 10_000}},
        {"finish": "stop"},
    ]
    daemon.script("large-messages", large)
    run_id = client.create(prompt(), *plugin_layers("large-messages"))
    gate = threading.Event()
    stalled = SocketClient(client.url, run_id, gate=gate)
    # Frames that other greenlets write in between: answers to pings and to messages.
    for _ in range(5):
        stalled.client.sock.sendall(stalled.client.ws.send(Ping(b"still there")))
        stalled.send("no JSON")

    brisk = SocketClient(client.url, run_id).rest()
    time.sleep(STALL_SECONDS)  # the stall is what is tested
    gate.set()
    received = stalled.rest()

    events = [message for message in received if message["type"] != "error"]
    assert len(received) == len(events) + 5
    assert events == brisk
    assert len("".join(event.get("agent_message_delta") or "" for event in events)) == LARGE_CHUNKS * 10_000
    assert stalled.closed == (1000, "run_succeeded")


def test_a_client_cancels_its_run(client: RunClient, daemon: ScriptedDaemon) -> None:
    run_id = hanging_run(client, daemon, "cancel-by-socket")
    viewer = SocketClient(client.url, run_id)

    viewer.send({"type": "cancel", "reason": "user", "message": "no more"})
    terminal = viewer.rest()[-1]

    assert terminal["type"] == "run_cancelled"
    assert terminal["data"] == {"reason": "user", "message": "no more"}
    assert viewer.closed == (1000, "run_cancelled")
    assert client.status(run_id)["status"] == "cancelled"
    assert daemon.wait_until_ended("cancel-by-socket")["closed_by_client"]


def test_a_stream_token_reads_but_does_not_cancel(start_server: StartServer, daemon: ScriptedDaemon) -> None:
    server = start_server(redis_prefix="socket-token", api_token="secret", secret_keys="k" * 40)
    client = RunClient(server.url, token="secret")
    run_id = hanging_run(client, daemon, "token-socket")
    made = client.session.post(f"{client.url}/runs/{run_id}/stream-tokens", timeout=30).json()
    reader = SocketClient(client.url, run_id, query=f"?token={made['token']}")
    owner = SocketClient(client.url, run_id, token="secret")

    reader.send({"type": "cancel"})
    messages: dict[str, dict[str, Any]] = {}
    while not {"run_started", "error"} <= set(messages):  # either may be first
        message = reader.receive()
        messages[message["type"]] = message

    assert messages["error"]["code"] == "read_only"
    assert client.status(run_id)["status"] == "running"
    owner.send({"type": "cancel"})
    assert reader.rest()[-1]["type"] == "run_cancelled"
    assert owner.rest()[-1]["type"] == "run_cancelled"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "invalid_json"),
        ("NaN", "invalid_json"),
        ("[" * 50_000, "invalid_json"),
        ("[]", "invalid_param"),
        (b'{"type": "cancel"}', "binary_message"),
        ({"type": "subscribe"}, "unknown_type"),
        ({"type": ["cancel"]}, "unknown_type"),
        ({"reason": "no type"}, "unknown_type"),
        ({"type": "cancel", "reason": 1}, "invalid_param"),
        ({"type": "cancel", "force": True}, "invalid_param"),
    ],
)
def test_a_message_that_cannot_be_obeyed_is_answered_and_the_events_go_on(
    client: RunClient, message: object, code: str
) -> None:
    run_id = client.create(prompt(), demo_llm(answer="word " * 20, delay_ms=50))
    viewer = SocketClient(client.url, run_id)

    viewer.send(message)
    messages = viewer.rest()

    errors = [message for message in messages if message["type"] == "error"]
    assert [set(error) for error in errors] == [{"type", "code", "message"}]
    assert errors[0]["code"] == code
    assert [message for message in messages if message["type"] != "error"] == events_of(client, run_id)
    assert messages[-1]["type"] == "run_succeeded"


def test_a_client_whose_messages_are_all_refused_is_cut_and_others_go_on(client: RunClient) -> None:
    run_id = client.create(prompt(), demo_llm(answer="word " * 40, delay_ms=50))
    noisy, quiet = SocketClient(client.url, run_id), SocketClient(client.url, run_id)

    for _ in range(21):
        noisy.send("{}")
    messages = noisy.rest()

    assert sum(message["type"] == "error" for message in messages) == 20
    assert noisy.closed == (1008, "too many messages were refused")
    assert quiet.rest()[-1]["type"] == "run_succeeded"


@pytest.mark.parametrize("length", [LONGEST_MESSAGE + 1, 4_000_000])
def test_an_oversized_message_ends_the_connection_with_1009(
    client: RunClient, daemon: ScriptedDaemon, length: int
) -> None:
    run_id = hanging_run(client, daemon, f"oversized-{length}")
    viewer, quiet = SocketClient(client.url, run_id), SocketClient(client.url, run_id)

    viewer.client.sock.settimeout(30)
    viewer.send("x" * length)
    viewer.rest()

    assert viewer.closed == (1009, "Message is too big")
    client.cancel(run_id)
    assert quiet.rest()[-1]["type"] == "run_cancelled"


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        pytest.param(b"\x81\x02hi", 1002, id="not masked"),
        pytest.param(b"\x83\x80\0\0\0\0", 1002, id="reserved opcode"),
        pytest.param(b"\xc1\x82\0\0\0\0hi", 1002, id="compressed without agreement"),
        pytest.param(b"\x81\x82\0\0\0\0\xff\xff", 1007, id="not UTF-8"),
    ],
)
def test_a_frame_that_breaks_the_protocol_ends_the_connection(
    client: RunClient, daemon: ScriptedDaemon, frame: bytes, code: int
) -> None:
    run_id = hanging_run(client, daemon, f"violation-{frame.hex()}")
    bare = BareSocket(client.url, events_path(run_id))

    bare.sock.sendall(frame)
    while data := bare.sock.recv(4096):
        bare.received += data

    close = bare.received[bare.received.rindex(b"\x88") :]
    assert struct.unpack("!H", close[2:4]) == (code,)
    bare.sock.close()
    client.cancel(run_id)


def test_pings_of_a_client_are_answered(client: RunClient, daemon: ScriptedDaemon) -> None:
    run_id = hanging_run(client, daemon, "pinged")
    viewer = SocketClient(client.url, run_id)
    viewer.client.pong_received = False

    viewer.client.sock.sendall(viewer.client.ws.send(Ping(b"are you there?")))

    wait_until(lambda: viewer.client.pong_received)
    viewer.close()
    client.cancel(run_id)


def test_an_idle_socket_is_pinged_within_fifteen_seconds(client: RunClient, daemon: ScriptedDaemon) -> None:
    run_id = hanging_run(client, daemon, "idle-socket")
    bare = BareSocket(client.url, events_path(run_id))
    bare.sock.settimeout(18)

    bare.receive_until(PING_FRAME)

    bare.sock.close()
    client.cancel(run_id)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"Upgrade": None, "Connection": None}, "upgrade_required"),
        ({"Upgrade": "h3"}, "upgrade_required"),
        ({"Connection": "keep-alive"}, "upgrade_required"),
        ({"Sec-WebSocket-Version": "8"}, "upgrade_required"),
        ({"Sec-WebSocket-Version": None}, "upgrade_required"),
        ({"Sec-WebSocket-Key": "short"}, "upgrade_required"),
        ({"Sec-WebSocket-Key": None}, "upgrade_required"),
    ],
)
def test_a_request_without_a_handshake_gets_upgrade_required(
    client: RunClient, change: dict[str, str | None], code: str
) -> None:
    run_id = client.create(prompt())
    headers = {name: value for name, value in {**UPGRADE, **change}.items() if value is not None}

    response = client.session.get(f"{client.url}/runs/{run_id}/events/ws", headers=headers, timeout=10)

    assert response.status_code == 426
    assert response.json()["code"] == code
    assert set(response.json()) == {"code", "message", "status", "detail"}
    assert response.headers["Upgrade"] == "websocket"
    assert response.headers["Sec-WebSocket-Version"] == "13"


@pytest.mark.parametrize(
    "more",
    [
        {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"},
        {"Sec-WebSocket-Protocol": "graphql-ws"},
        {"X-Name": "J\xfcrgen"},
        {"X-Long": "x" * 8000},
    ],
)
def test_a_handshake_agrees_to_nothing_more(client: RunClient, more: dict[str, str]) -> None:
    run_id = client.create(prompt())

    bare = BareSocket(client.url, events_path(run_id), more)

    head = bare.received.partition(b"\r\n\r\n")[0].decode().lower()
    assert {line.partition(":")[0] for line in head.split("\r\n")[1:]} == {
        "upgrade",
        "connection",
        "sec-websocket-accept",
    }
    bare.sock.close()


def test_other_methods_than_get_open_no_socket(client: RunClient) -> None:
    url = f"{client.url}/runs/{client.create(prompt())}/events/ws"

    options = client.session.options(url, headers=UPGRADE, timeout=10)

    assert options.status_code == 200
    assert set(options.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    assert client.session.head(url, headers=UPGRADE, timeout=10).status_code == 426


def test_an_unknown_run_or_a_bad_cursor_is_refused_before_the_upgrade(client: RunClient) -> None:
    run_id = client.create(prompt())

    unknown = client.session.get(f"{client.url}/runs/no-run/events/ws", headers=UPGRADE, timeout=10)
    bad = client.session.get(f"{client.url}/runs/{run_id}/events/ws?after=1-x", headers=UPGRADE, timeout=10)

    assert (unknown.status_code, unknown.json()["code"]) == (404, "run_not_found")
    assert (bad.status_code, bad.json()["code"]) == (422, "invalid_param")
    assert bad.json()["detail"][0]["loc"] == ["query", "after"]


def test_a_handshake_without_the_token_is_refused(start_server: StartServer) -> None:
    client = RunClient(start_server(redis_prefix="socket-auth", api_token="secret").url, token="secret")
    run_id = client.create(prompt())

    refused = RunClient(client.url).session.get(f"{client.url}/runs/{run_id}/events/ws", headers=UPGRADE, timeout=10)

    assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    assert SocketClient(client.url, run_id, token="secret").rest()[-1]["type"] == "run_succeeded"


def test_a_socket_goes_on_within_the_grace_and_the_server_exits_in_time(start_server: StartServer) -> None:
    server = start_server(redis_prefix="socket-grace", shutdown_grace_seconds=20, workers=2)
    client = RunClient(server.url)
    run_id = client.create(prompt(), demo_llm(answer="word " * 20, delay_ms=100))
    viewer = SocketClient(server.url, run_id)
    first = viewer.receive()

    begun = time.monotonic()
    code = server.stop()
    messages = [first, *viewer.rest()]

    assert code == 0
    assert time.monotonic() - begun < 15
    assert messages[-1]["type"] == "run_succeeded"
    assert viewer.closed == (1000, "run_succeeded")


def test_readers_of_another_servers_run_are_asked_to_reconnect(
    start_server: StartServer, daemon: ScriptedDaemon
) -> None:
    executing = RunClient(start_server(redis_prefix="socket-cut").url)
    viewing = start_server(redis_prefix="socket-cut", shutdown_grace_seconds=1)
    run_id = hanging_run(executing, daemon, "cut-socket")
    viewers = [SocketClient(viewing.url, run_id) for _ in range(10)]
    silent = BareSocket(viewing.url, events_path(run_id))
    for viewer in viewers:
        viewer.receive()

    begun = time.monotonic()
    code = viewing.stop()

    assert code == 0
    assert time.monotonic() - begun < 12
    for viewer in viewers:
        viewer.rest()
        assert viewer.closed == (1012, "the worker stops: connect again with the id of the last event")
    silent.sock.close()
    executing.cancel(run_id)


@pytest.mark.parametrize("how", ["close frame", "end", "reset"])
def test_a_client_that_has_gone_is_no_subscriber_any_more(
    start_server: StartServer, daemon: ScriptedDaemon, how: str
) -> None:
    prefix = f"socket-gone-{how.replace(' ', '-')}"
    executing = RunClient(start_server(redis_prefix=prefix).url)
    viewing = start_server(redis_prefix=prefix, shutdown_grace_seconds=60)
    run_id = hanging_run(executing, daemon, f"gone-{how}")

    for _ in range(5):
        if how == "close frame":
            viewer = SocketClient(viewing.url, run_id)
            viewer.receive()
            viewer.close()
        else:
            bare = BareSocket(viewing.url, events_path(run_id))
            bare.receive_until(b"run_started")
            if how == "reset":
                bare.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            bare.sock.close()
    begun = time.monotonic()
    code = viewing.stop()

    assert code == 0
    assert time.monotonic() - begun < 15  # the worker waits for its subscribers as long as the grace
    executing.cancel(run_id)


def test_a_socket_of_a_run_whose_events_are_gone_ends(client: RunClient) -> None:
    run_id = client.create(prompt())
    client.finish(run_id)
    viewer = SocketClient(client.url, run_id, query="?after=18446744073709551615-18446744073709551615")

    with pytest.raises(ConnectionClosed):
        viewer.receive()

    assert viewer.closed == (1000, "ended")


@pytest.mark.parametrize(
    ("origin", "status"),
    [(None, 101), ("same", 101), ("https://allowed.example", 101), ("https://other.example", 403), ("null", 403)],
)
def test_only_pages_of_known_origins_may_open_a_socket(
    start_server: StartServer, origin: str | None, status: int
) -> None:
    client = RunClient(start_server(redis_prefix="origins", cors_origins="https://allowed.example").url)
    run_id = client.create(prompt())
    headers = dict(UPGRADE)
    if origin is not None:
        headers["Origin"] = client.url if origin == "same" else origin

    with client.session.get(
        f"{client.url}/runs/{run_id}/events/ws", headers=headers, stream=True, timeout=10
    ) as response:
        assert response.status_code == status
        if status == 403:
            assert response.json()["code"] == "origin_not_allowed"
