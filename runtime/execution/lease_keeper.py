"""The worker's side of its leases: reports to the process that renews them which runs the worker executes."""

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
"""Between two messages. Each also shows that this worker is still running."""
NEWS_SECONDS = 0.25
"""The same while runs begin. A new run has a whole lease, so it can wait this long for the first message with it."""
SEND_SECONDS = 30.0
"""How long sending a message may take. The process reads its socket between two short calls to Redis."""
RESTART_SECONDS = 0.5

_CHECKOUT = Path(__file__).parents[2]


class LeaseProcess:
    """A running ``runtime.execution.lease_process``, and this worker's end of its socket.

    Raises OSError when the process cannot be started.
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
        """Sends a message. Raises OSError when the process is gone or does not read."""
        with gevent.Timeout(SEND_SECONDS, TimeoutError("it takes no message")):
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def lines(self) -> Iterable[str]:
        """Yields the lines that the process writes, until it is gone."""
        with self._connection.makefile("r", encoding="utf-8") as answers:
            yield from answers

    def end(self) -> None:
        """Kills the process and releases its resources.

        It is killed before its socket is closed, because it gives the leases up when the socket closes.
        """
        self._process.kill()
        self._connection.close()
        self._process.wait()


class LeaseKeeper:
    """Has the leases of this worker's runs renewed for as long as the worker lives.

    ``owned`` returns the runs, and ``on_gone`` is called with each run whose lease is gone.
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
        """Has the runs reported soon, because there is a new one."""
        self._news.set()

    def close(self) -> None:
        """Stops renewing. Runs that are left are ended by the reaper when their leases expire."""
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
        """Starts the process and sends it messages until it is gone. Raises OSError."""
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
