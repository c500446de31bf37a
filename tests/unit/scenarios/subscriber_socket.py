"""Scenarios of the server's end of a WebSocket, over a pair of connected sockets."""

from __future__ import annotations

import base64
import socket
from collections.abc import Callable

import gevent
from simple_websocket import Server

from blueprints.guarded_socket import GuardedSocket
from blueprints.subscriber_socket import CLOSED_ERRORS, SubscriberSocket
from blueprints.upgrade import handshake, reading_greenlet
from tests.support.patched import eventually

KEY = base64.b64encode(b"0123456789abcdef").decode()
LARGE = 2_000_000
READ_BYTES = 65_536


def _subscriber_socket(
    sock: socket.socket, *, on_message: Callable[[str | bytes], None], on_end: Callable[[], None]
) -> SubscriberSocket:
    """As flask-sock makes it."""
    server = Server(handshake(GuardedSocket(sock), KEY), thread_class=reading_greenlet)
    return SubscriberSocket(server, on_message=on_message, on_end=on_end)


def a_client_that_answers_no_ping_counts_as_gone() -> None:
    mine, theirs = socket.socketpair()
    subscriber = _subscriber_socket(mine, on_message=lambda _: None, on_end=lambda: None)

    assert [subscriber.ping() for _ in range(4)] == [True, True, False, False]

    theirs.close()


def a_client_that_answers_a_late_ping_does_not_count_as_gone() -> None:
    mine, theirs = socket.socketpair()
    subscriber = _subscriber_socket(mine, on_message=lambda _: None, on_end=lambda: None)

    assert [subscriber.ping() for _ in range(2)] == [True, True]
    theirs.sendall(b"\x8a\x80\0\0\0\0")
    eventually(lambda: subscriber.pong_received)
    assert [subscriber.ping() for _ in range(2)] == [True, True]

    theirs.close()


def the_end_of_the_client_is_reported_once_it_is_noticed() -> None:
    mine, theirs = socket.socketpair()
    ends: list[str] = []
    subscriber = _subscriber_socket(mine, on_message=lambda _: None, on_end=lambda: ends.append("end"))

    theirs.close()

    eventually(lambda: subscriber.is_gone)
    assert ends == ["end"]


def what_came_with_the_close_of_the_client_is_handed_over() -> None:
    mine, theirs = socket.socketpair()
    heard: list[str | bytes] = []
    subscriber = _subscriber_socket(mine, on_message=heard.append, on_end=lambda: heard.append("end"))

    theirs.sendall(b"\x81\x82\0\0\0\0hi\x88\x80\0\0\0\0")
    theirs.shutdown(socket.SHUT_WR)

    eventually(lambda: subscriber.is_gone)
    assert heard == ["hi", "end"]


def a_client_that_leaves_during_the_handshake_is_noticed_when_it_is_sent_to() -> None:
    mine, theirs = socket.socketpair()
    theirs.close()
    ends: list[str] = []

    subscriber = _subscriber_socket(mine, on_message=lambda _: None, on_end=lambda: ends.append("end"))

    try:
        subscriber.send_json({})
    except CLOSED_ERRORS:
        eventually(lambda: subscriber.is_gone)
        assert ends == ["end"]
        return
    raise AssertionError("something was sent to a client that has gone")


def writers_take_turns_and_everything_arrives_whole() -> None:
    mine, theirs = socket.socketpair()
    guarded = GuardedSocket(mine)

    writers = [gevent.spawn(guarded.send, bytes([letter]) * LARGE) for letter in b"abc"]
    gevent.sleep(0.1)
    received = b""
    while len(received) < 3 * LARGE:
        received += theirs.recv(READ_BYTES)
    gevent.joinall(writers, raise_error=True)

    assert received == b"a" * LARGE + b"b" * LARGE + b"c" * LARGE


def nothing_is_sent_behind_a_frame_that_was_interrupted() -> None:
    mine, _theirs = socket.socketpair()
    guarded = GuardedSocket(mine)
    writer = gevent.spawn(guarded.send, b"x" * LARGE)
    gevent.sleep(0.1)
    assert not writer.ready()

    writer.kill()

    try:
        guarded.send(b"more")
    except BrokenPipeError:
        return
    raise AssertionError("a frame was sent into the middle of another")
