"""Processes for work that would hold up everything else in a worker, or that may never end.

The pool is plain blocking code with sockets and locks: under gevent's patches only the calling greenlet waits,
elsewhere the calling thread. The processes are new Python processes, not forks of this one.
"""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from errors import OutputCheckUnavailable
from runtime.output.frames import receive_message, send_message

logger = logging.getLogger(__name__)

POOL_SIZE = 2
JOB_SECONDS = 10.0
"""How long one job may take before its process is killed."""
START_SECONDS = 30.0
"""How long a process may take to start on a busy machine."""
WAIT_SECONDS = 30.0
"""How long a job may wait for a process."""

_CHECKOUT = Path(__file__).parents[2]


class JobTimeout(Exception):
    """Raised when a job took too long and its process was killed."""


class CheckProcess:
    """One process that does one job at a time until its connection is closed.

    Raises OSError when it cannot be started.
    """

    def __init__(self) -> None:
        self._connection, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "runtime.output.child"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                cwd=_CHECKOUT,
            )
        try:
            receive_message(self._connection, time.monotonic() + START_SECONDS)
        except BaseException:
            self.end()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def do(self, job: Sequence[bytes]) -> list[bytes]:
        """Does a job.

        Raises TimeoutError, or another OSError when the process died. After either the process is unusable.
        """
        deadline = time.monotonic() + JOB_SECONDS
        send_message(self._connection, job, deadline)
        return receive_message(self._connection, deadline)

    def kill(self) -> None:
        """Kills the process. A caller that waits for it gets an OSError."""
        self._process.kill()

    def end(self) -> None:
        """Kills the process and releases its resources."""
        self.kill()
        self._connection.close()
        self._process.wait()


class CheckPool:
    """At most ``POOL_SIZE`` processes, started when they are first needed and kept until ``close``."""

    def __init__(self) -> None:
        self._free = threading.BoundedSemaphore(POOL_SIZE)
        self._idle: list[CheckProcess] = []
        self._busy: set[CheckProcess] = set()
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """The ids of the present processes."""
        return [process.pid for process in (*self._idle, *self._busy)]

    @property
    def is_busy(self) -> bool:
        """Whether a process is working."""
        return bool(self._busy)

    def do(self, job: Sequence[bytes]) -> list[bytes]:
        """Does a job in one of the processes, and blocks this greenlet or thread until it is done.

        Raises JobTimeout when it took too long. Raises OutputCheckUnavailable when no process became free or could be
        started, or when the working process died.
        """
        if not self._free.acquire(timeout=WAIT_SECONDS):
            raise OutputCheckUnavailable
        try:
            process = self._idle_process() or CheckProcess()
            return self._do(process, job)
        except OSError:
            logger.exception("a process that checks outputs could not start, or died")
            raise OutputCheckUnavailable from None
        finally:
            self._free.release()

    def close(self) -> None:
        """Kills the processes. Jobs in progress fail, and no new process is kept."""
        self._closed = True
        while (process := self._idle_process()) is not None:
            process.end()
        for process in list(self._busy):
            process.kill()

    def _do(self, process: CheckProcess, job: Sequence[bytes]) -> list[bytes]:
        self._busy.add(process)
        answer = None
        try:
            answer = process.do(job)
            return answer
        except TimeoutError:
            raise JobTimeout from None
        finally:
            self._busy.discard(process)
            if answer is None or self._closed:
                process.end()
            else:
                self._idle.append(process)

    def _idle_process(self) -> CheckProcess | None:
        while True:
            try:
                process = self._idle.pop()
            except IndexError:
                return None
            if process.is_alive():
                return process
            process.end()
