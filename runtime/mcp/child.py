"""A process of a run: its pipes on the worker's loop, and its certain end.

The loop on the hub starts no processes, so gevent does, which also notices their end.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from typing import Any

import anyio
from gevent import subprocess

INHERITED = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "SSL_CERT_FILE", "TERM", "TMPDIR", "TZ", "USER")
"""Variables of this server's that a process gets. The others hold its secrets."""

LEAVE_SECONDS = 0.3
"""For a process to end by itself once its input has ended."""

TERMINATE_SECONDS = 0.2
"""For it to end after SIGTERM; then it is killed."""


@dataclass(frozen=True, slots=True)
class Child:
    """A running process. Reading a line above the limit raises ValueError."""

    output: asyncio.StreamReader
    input: asyncio.StreamWriter


@asynccontextmanager
async def running_child(argv: Sequence[str], *, max_line_bytes: int) -> AsyncGenerator[Child]:
    """A process, and the group of those it starts, for the time of the context.

    At its end their input ends; whichever of them then still runs is told to end, and killed. Raises OSError when
    the command cannot be started.
    """
    process_in, to_process = os.pipe()
    from_process, process_out = os.pipe()
    group = _Group()
    # The greenlet that starts the process cannot be cancelled, so it has the process' ends of the pipes for itself.
    loop = asyncio.get_running_loop()
    starting = loop.run_in_executor(None, _start, list(argv), process_in, process_out, group)
    try:
        with FileIO(from_process, "r") as output_end, FileIO(to_process, "w") as input_end:
            await asyncio.shield(starting)
            # Left in reverse: its input ends, then it ends, and until then it can write.
            async with _reader(output_end, max_line_bytes) as output, group, _writer(input_end) as input_:
                yield Child(output, input_)
    finally:
        group.kill()
        starting.add_done_callback(lambda _: group.kill())


@asynccontextmanager
async def _reader(pipe: FileIO, max_line_bytes: int) -> AsyncGenerator[asyncio.StreamReader]:
    reader = asyncio.StreamReader(limit=max_line_bytes)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    try:
        yield reader
    finally:
        transport.close()


@asynccontextmanager
async def _writer(pipe: FileIO) -> AsyncGenerator[asyncio.StreamWriter]:
    # Of the two public stream protocols, this one does for writing as well.
    protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader())
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_write_pipe(lambda: protocol, pipe)
    try:
        yield asyncio.StreamWriter(transport, protocol, None, loop)
    finally:
        if not transport.is_closing():
            transport.abort()  # closing would wait until what is left has been read


class _Group:
    """The processes of a group; its leader is the one that was started."""

    def __init__(self) -> None:
        self._leader: int | None = None
        self._has_ended = False
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def begin(self, process: Any) -> None:
        self._leader = process.pid
        process.result.rawlink(self._leader_ended)

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *args: object) -> None:
        """See that they end, within a bounded time, also when the run is cancelled."""
        with anyio.CancelScope(shield=True):
            if not await self._ends_within(LEAVE_SECONDS):
                self._signal(signal.SIGTERM)
                await self._ends_within(TERMINATE_SECONDS)
        self.kill()

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    async def _ends_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        return self._has_ended

    def _leader_ended(self, _: object) -> None:
        """Runs in the hub. Those it has left behind end now: later the number of the group may be another's."""
        self.kill()
        self._has_ended = True
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ended.set)

    def _signal(self, number: signal.Signals) -> None:
        if self._leader is not None and not self._has_ended:
            with suppress(ProcessLookupError):
                os.killpg(self._leader, number)


def _start(argv: list[str], stdin: int, stdout: int, group: _Group) -> None:
    """Runs in a greenlet of its own."""
    env = {name: os.environ[name] for name in INHERITED if name in os.environ}
    try:
        group.begin(subprocess.Popen(argv, stdin=stdin, stdout=stdout, env=env, start_new_session=True))
    finally:
        os.close(stdin)
        os.close(stdout)
