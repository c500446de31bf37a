"""The worker's side of its leases: tells the process that renews them which runs it executes."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import gevent
from gevent.event import Event

from runtime.events.keys import Keys

logger = logging.getLogger(__name__)

MESSAGE_SECONDS = 1.0
"""Between two messages; each is also the sign that this worker still moves."""
NEWS_SECONDS = 0.25
"""The same while runs begin. A run has a whole lease when it is made, so it can wait that long to be named."""
SEND_SECONDS = 30.0
"""How long a message may take; the process reads between two short calls of Redis."""
RESTART_SECONDS = 0.5

_CHECKOUT = Path(__file__).parents[2]


class LeaseProcess:
    """A running ``runtime.execution.lease_process``, and our end of its socket.

    Raises:
        OSError: it could not start.
    """

    def __init__(self) -> None:
        self._connection, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "runtime.execution.lease_process"],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    cwd=_CHECKOUT,
                )
            except OSError:
                self._connection.close()
                raise

    def send(self, message: Mapping[str, object]) -> None:
        """Raises OSError when it is gone or takes nothing."""
        with gevent.Timeout(SEND_SECONDS, TimeoutError("it takes no message")):
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def lines(self) -> Iterable[str]:
        """What it says, until it is gone."""
        with self._connection.makefile("r", encoding="utf-8") as answers:
            yield from answers

    def end(self) -> None:
        """Kill it and give back what it held. Killed first, as it gives the leases up when the connection ends."""
        self._process.kill()
        self._connection.close()
        self._process.wait()


class LeaseKeeper:
    """Has the leases of this worker's runs renewed as long as the worker lives.

    ``owned`` names the runs, and ``on_gone`` is called with each whose lease is gone.
    """

    def __init__(
        self,
        redis_url: str,
        keys: Keys,
        *,
        lease_seconds: float,
        owned: Callable[[], Iterable[str]],
        on_gone: Callable[[str], object],
    ) -> None:
        self._setup = {"redis_url": redis_url, "is_cluster": bool(keys.buckets), "lease_seconds": lease_seconds}
        self._keys = keys
        self._owned = owned
        self._on_gone = on_gone
        self._news = Event()
        self._greenlet: gevent.Greenlet[..., None] | None = None

    def start(self) -> None:
        self._greenlet = gevent.spawn(self._keep_for_ever)

    def tell(self) -> None:
        """Name the runs again soon: there is a new one."""
        self._news.set()

    def close(self) -> None:
        """Renew nothing more. Runs that are left are reaped when their leases are over."""
        if self._greenlet is not None:
            self._greenlet.kill()

    def _keep_for_ever(self) -> None:
        while True:
            try:
                self._keep()
            except OSError as error:
                logger.warning("leases: no process that renews them: %s", error)
            gevent.sleep(RESTART_SECONDS)

    def _keep(self) -> None:
        """Start the process and talk to it until it is gone. Raises OSError."""
        process = LeaseProcess()
        listener = gevent.spawn(self._listen, process)
        listener.rawlink(lambda _: self._news.set())
        try:
            process.send(self._setup)
            while not listener.ready():
                process.send(self._message())
                gevent.sleep(NEWS_SECONDS)
                self._news.wait(MESSAGE_SECONDS - NEWS_SECONDS)
                self._news.clear()
            logger.warning("leases: the process that renews them has ended, another one is started")
        finally:
            listener.kill()
            process.end()

    def _message(self) -> dict[str, list[str]]:
        message: dict[str, list[str]] = {}
        for run_id in self._owned():
            message.setdefault(self._keys.leases(self._keys.bucket(run_id)), []).append(run_id)
        return message

    def _listen(self, process: LeaseProcess) -> None:
        try:
            for line in process.lines():
                for run_id in json.loads(line):
                    self._on_gone(run_id)
        except OSError as error:
            logger.warning("leases: lost the process that renews them: %s", error)
