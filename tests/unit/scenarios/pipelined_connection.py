"""Scenarios of the pipelined connection, in a process that is patched."""

from __future__ import annotations

import time

import gevent
from gevent.server import StreamServer
from redis.exceptions import TimeoutError as RedisTimeoutError

from runtime.events.pipelined_connection import PATIENCE_SECONDS, PipelinedConnection


def nobody_waits_long_for_a_redis_that_answers_each_command_late() -> None:
    def answer_late(sock: object, _: object) -> None:
        while received := sock.recv(1 << 16):  # type: ignore[attr-defined]
            for _ in range(received.count(b"*")):
                gevent.sleep(1)
                sock.sendall(b"+OK\r\n")  # type: ignore[attr-defined]

    server = StreamServer(("127.0.0.1", 0), answer_late)
    server.start()
    link = PipelinedConnection(f"redis://127.0.0.1:{server.server_port}/0", name="late")
    link.start()
    begun = time.monotonic()
    try:
        link.ask(*[("PING",)] * 30)
        raise AssertionError("it was answered")
    except RedisTimeoutError:
        took = time.monotonic() - begun
    finally:
        link.close()
        server.stop()

    assert took < PATIENCE_SECONDS * 3
