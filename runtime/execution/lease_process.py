"""A process that renews the leases of one worker's runs. The worker's socket is its standard input.

It is a separate process because C code may block the worker so that nothing else in it runs, not even a thread. Each
message of the worker, one line of JSON, lists the runs that the worker executes and shows that it is still running.
Each line of the answer lists runs whose leases are gone. The address of Redis is in the first message, so that no list
of processes shows it.

When the socket closes, the worker has ended, in whatever way: then this process gives the leases up and ends too. A
worker that ends properly kills this process instead.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.events.connections import LINK_ERRORS, Command, Link, RedisLink
from runtime.events.scripts import load_script

BEAT_LEASES = 0.3
"""Between two renewals, as a part of a lease: two may fail before the lease expires."""
RETRY_SECONDS = 0.5
READ_TIMEOUT_SECONDS = 2.0
HANG_SECONDS = 30.0
"""A worker that has been silent for this long is not expected to come back."""
STOPPED_SECONDS = 3.0
"""A worker that has been silent for this long, and is stopped according to the system, cannot be executing runs."""

GIVEN_UP = 0
"""The expiry of a lease that was given up: a time that no other lease expires at."""

_CHUNK = 1 << 16

Owned = Mapping[str, Sequence[str]]
"""Run ids by the key of their leases."""


class WorkerGone(ConnectionError):
    """The worker has closed its side of the socket."""


class WorkerLine:
    """The worker's side of the socket: its messages, and how long ago the last one came."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._pid = os.getppid()
        self._received = b""
        self._heard_at = time.monotonic()

    def first(self) -> str:
        """Returns the first message. Raises ConnectionError when the worker is gone."""
        while b"\n" not in self._received:
            self._receive()
        line, _, self._received = self._received.partition(b"\n")
        return line.decode()

    def newest(self, timeout: float) -> str | None:
        """Returns the last whole message that comes within ``timeout`` seconds; it replaces all older ones.

        Raises ConnectionError when the worker is gone.
        """
        while select.select([self._connection], [], [], max(0.0, timeout))[0]:
            self._receive()
            timeout = 0.0
        *lines, self._received = self._received.split(b"\n")
        if not lines:
            return None
        self._heard_at = time.monotonic()
        return lines[-1].decode()

    def tell(self, gone: Sequence[str]) -> None:
        """Sends the runs whose leases are gone. Raises ConnectionError when the worker is gone."""
        self._connection.sendall(json.dumps(gone).encode() + b"\n")

    def moves(self) -> bool:
        """Returns whether the worker may still be executing the runs it reported. Raises WorkerGone."""
        if os.getppid() != self._pid:
            raise WorkerGone
        silence = time.monotonic() - self._heard_at
        return silence < STOPPED_SECONDS or (silence < HANG_SECONDS and not _is_stopped(self._pid))

    def _receive(self) -> None:
        chunk = self._connection.recv(_CHUNK)
        if not chunk:
            raise WorkerGone
        self._received += chunk


@dataclass(frozen=True, slots=True)
class Renewer:
    """Renews leases over its own connections."""

    link: Link
    lease_milliseconds: int

    def renew(self, owned: Owned) -> tuple[list[str], bool]:
        """Returns the runs whose leases are gone, and whether Redis could be asked about all of them."""
        text = load_script("renew_leases").text
        commands: list[Command] = [
            ("EVAL", text, 1, key, self.lease_milliseconds, *run_ids) for key, run_ids in owned.items()
        ]
        answers = self._call(commands)
        gone = [run_id.decode() for answer in answers if isinstance(answer, list) for run_id in answer]
        return gone, all(isinstance(answer, list) for answer in answers)

    def give_up(self, owned: Owned) -> None:
        """Lets the leases expire now. If Redis cannot be reached, they expire by themselves."""
        self._call(
            [
                ("ZADD", key, "XX", *(word for run_id in run_ids for word in (GIVEN_UP, run_id)))
                for key, run_ids in owned.items()
            ]
        )

    def _call(self, commands: Sequence[Command]) -> list[Any]:
        """Returns the answers of Redis, or errors where it could not be reached.

        The errors are not logged, because the worker has the same trouble and logs it.
        """
        try:
            if not self.link.is_open:
                self.link.open()
            return self.link.call_all(commands)
        except LINK_ERRORS as error:
            self.link.close()
            return [error] * len(commands)


class Beat:
    """Renews the leases that the worker reports, every third of a lease."""

    def __init__(self, worker: WorkerLine) -> None:
        setup = json.loads(worker.first())
        make = _cluster_link if setup["is_cluster"] else _link
        self._worker = worker
        self._renewer = Renewer(make(setup["redis_url"]), round(setup["lease_seconds"] * 1000))
        self._pause = setup["lease_seconds"] * BEAT_LEASES
        self._owned: Owned = {}

    def go_on(self) -> None:
        """Renews leases for as long as the worker exists."""
        try:
            self._beat_for_ever()
        except ConnectionError:
            self._renewer.give_up(self._owned)

    def _beat_for_ever(self) -> None:
        """Raises ConnectionError when the worker is gone."""
        beat_at = time.monotonic() + self._pause
        while True:
            message = self._worker.newest(beat_at - time.monotonic())
            if message is not None:
                self._owned = json.loads(message)
            if time.monotonic() < beat_at:
                continue
            gone, is_done = self._renewer.renew(self._owned) if self._worker.moves() else ([], True)
            if gone:
                self._worker.tell(gone)
            beat_at = time.monotonic() + (self._pause if is_done else RETRY_SECONDS)


def _link(url: str) -> Link:
    return RedisLink(url, name="greenrun-leases", read_timeout=READ_TIMEOUT_SECONDS)


def _cluster_link(url: str) -> Link:
    # Not at the top, because these modules take memory that only a cluster needs.
    from runtime.events.cluster.links import NodeLinks, OnFailure
    from runtime.events.cluster.slots import SlotMap

    # The leases on the other nodes must not wait for an unreachable node.
    on_failure = OnFailure.REFUSE
    return NodeLinks(SlotMap(url), name="greenrun-leases", read_timeout=READ_TIMEOUT_SECONDS, on_failure=on_failure)


def _is_stopped(pid: int) -> bool:
    """Returns whether a process is stopped by a signal, on systems that show it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return state.rpartition(")")[2].split()[0] == "T"


def main() -> None:
    # A signal that stops the worker must not stop its leases: its runs may still finish.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=sys.stdin.fileno()) as connection:
        connection.setblocking(True)  # gevent made it non-blocking
        try:
            beat = Beat(WorkerLine(connection))
        except ConnectionError:
            return  # the worker ended before it had any runs
        beat.go_on()


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        # The error's text is left out, because it may quote what was received.
        print(f"{type(error).__name__} in the process that renews leases", file=sys.stderr)  # noqa: T201
        traceback.print_tb(error.__traceback__)
        sys.exit(1)
