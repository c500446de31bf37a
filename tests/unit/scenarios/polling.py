"""A look at a descriptor, in a worker. Run in a patched child: see test_transport."""

from __future__ import annotations

import socket

import gevent

from runtime.polling import is_readable_now


def polling_does_not_yield_to_other_greenlets() -> None:
    one, other = socket.socketpair()
    waiting = gevent.spawn(lambda: None)

    assert not is_readable_now(one.fileno())

    assert not waiting.dead
    waiting.join()
    other.close()
    one.close()


def polling_finds_readable_data_and_a_closed_connection() -> None:
    one, other = socket.socketpair()
    other.send(b"x")
    assert is_readable_now(one.fileno())
    one.recv(1)
    assert not is_readable_now(one.fileno())

    other.close()

    assert is_readable_now(one.fileno())
    one.close()
