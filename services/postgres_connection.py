"""A connection to PostgreSQL that waits like a greenlet, and whose errors reveal nothing of the rows."""

from __future__ import annotations

from typing import Any, TypeVar

import psycopg
from gevent import monkey
from gevent.hub import get_hub
from psycopg.abc import PQGen

ResultT = TypeVar("ResultT")


class DiscreetConnection(psycopg.Connection[Any]):
    """A connection whose errors say what went wrong, and nothing of what was in the rows. It waits as psycopg does."""

    def wait(self, gen: PQGen[ResultT], interval: float = 0.1, timeout: float | None = None) -> ResultT:
        """Runs ``gen`` and returns its result. It yields what it waits for: to read, to write, or both."""
        try:
            return self._wait(gen, interval, timeout)
        except psycopg.Error as error:
            if error.diag.message_primary:  # errors are logged, and their details show rows and parameters
                error.args = (error.diag.message_primary,)
            raise

    def _wait(self, gen: PQGen[ResultT], interval: float, timeout: float | None) -> ResultT:
        return super().wait(gen, interval, timeout)


class GreenletConnection(DiscreetConnection):
    """A connection that waits for its socket in gevent's hub, without any further objects.

    psycopg itself would use gevent's version of ``select.poll``, which costs as much again as the statement.
    """

    def _wait(self, gen: PQGen[ResultT], interval: float, timeout: float | None) -> ResultT:
        if timeout is not None:  # only while a statement is being cancelled
            return super()._wait(gen, interval, timeout)
        hub, socket = get_hub(), self.pgconn.socket
        try:
            wanted = next(gen)
            while True:
                watcher = hub.loop.io(socket, wanted)  # psycopg and libev use the same numbers for reading and writing
                try:
                    hub.wait(watcher)
                finally:
                    watcher.close()
                wanted = gen.send(wanted)
        except StopIteration as end:
            result: ResultT = end.value
            return result


def connect(*args: Any, **options: Any) -> psycopg.Connection[Any]:
    """Connects like ``psycopg.connect``."""
    kind = GreenletConnection if monkey.is_module_patched("socket") else DiscreetConnection
    return kind.connect(*args, **options)
