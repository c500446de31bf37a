"""A connection to PostgreSQL that waits as greenlets do, and whose errors tell nothing of what is in the rows."""

from __future__ import annotations

from typing import Any, TypeVar

import psycopg
from gevent import monkey
from gevent.hub import get_hub
from psycopg.abc import PQGen

ResultT = TypeVar("ResultT")


class DiscreetConnection(psycopg.Connection[Any]):
    """Its errors say what went wrong, and nothing of what was in the rows. It waits as psycopg does."""

    def wait(self, gen: PQGen[ResultT], interval: float = 0.1, timeout: float | None = None) -> ResultT:
        """What ``gen`` gives in the end, which says again and again what it waits for: to read, to write, or both."""
        try:
            return self._wait(gen, interval, timeout)
        except psycopg.Error as error:
            if error.diag.message_primary:  # errors are logged, and their details show rows and parameters
                error.args = (error.diag.message_primary,)
            raise

    def _wait(self, gen: PQGen[ResultT], interval: float, timeout: float | None) -> ResultT:
        return super().wait(gen, interval, timeout)


class GreenletConnection(DiscreetConnection):
    """Waits in gevent's hub for its socket, and makes nothing else for that.

    psycopg itself would take gevent's copy of ``select.poll``, which costs as much again as the statement waited for.
    """

    def _wait(self, gen: PQGen[ResultT], interval: float, timeout: float | None) -> ResultT:
        if timeout is not None:  # only while a statement is being cancelled
            return super()._wait(gen, interval, timeout)
        hub, socket = get_hub(), self.pgconn.socket
        try:
            wanted = next(gen)
            while True:
                watcher = hub.loop.io(socket, wanted)  # psycopg and libev number reading and writing alike
                try:
                    hub.wait(watcher)
                finally:
                    watcher.close()
                wanted = gen.send(wanted)
        except StopIteration as end:
            result: ResultT = end.value
            return result


def connect(*args: Any, **options: Any) -> psycopg.Connection[Any]:
    """Connect as ``psycopg.connect`` does."""
    kind = GreenletConnection if monkey.is_module_patched("socket") else DiscreetConnection
    return kind.connect(*args, **options)
