"""The benchmark's side of the load process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.support.measure import cpu_seconds
from benchmarks.support.transport import Transport
from dev.processes import end_with_parent
from tests.support.gunicorn_server import CHECKOUT


@dataclass(frozen=True, slots=True)
class Followed:
    """The result of runs that were posted, each with its own reader; times in seconds.

    ``chars`` is the length of the joined texts. ``latencies`` are those of every stamped chunk, in the order of
    sending, as ``[sent_at, latency]``. ``client_share`` is the load process's own CPU, as a share of the time.
    """

    run_ids: list[str]
    seconds: float
    events: int
    chars: int
    latencies: list[tuple[float, float]]
    client_share: float


@dataclass(frozen=True, slots=True)
class Left:
    """Viewers that have seen the end of their runs.

    ``last_at`` is when the last one did, and ``closed_at`` when all connections were closed, on the clock of
    ``time.monotonic``; ``client_cpu`` is ``Load.cpu`` at that time. ``events`` are those of all viewers. ``lags`` are
    the seconds from each run's end in Redis to its viewer's end, sorted.
    """

    last_at: float
    events: int
    lags: list[float]
    closed_at: float
    client_cpu: float


@dataclass(frozen=True, slots=True)
class Replayed:
    """One whole stream that was read; ``client_share`` is the load process's own CPU, as a share of the time."""

    seconds: float
    events: int
    client_share: float


class Load:
    """A running load process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def cpu(self) -> float:
        """CPU seconds that it has used so far."""
        return cpu_seconds(self._process.pid)

    def follow(
        self,
        url: str,
        layers: list[dict[str, Any]],
        *,
        runs: int,
        spacing: float = 0,
        transport: Transport | None = Transport.SSE,
        stamped: bool = False,
    ) -> Followed:
        """Posts runs, ``spacing`` seconds apart or 32 at once, and reads each one's stream.

        With None for a transport nothing is read, and ``seconds`` is the time until the last one was accepted.
        """
        body = {"composition": {"layers": layers}}
        self._tell(job="follow", url=url, body=body, runs=runs, spacing=spacing, transport=transport, stamped=stamped)
        return Followed(**self._hear())

    def join(self, url: str, run_ids: Sequence[str], viewers: int, transport: Transport) -> None:
        """Has ``viewers`` viewers join these runs in turn, and waits until all have their first bytes."""
        self._tell(job="watch", url=url, run_ids=run_ids, viewers=viewers, transport=transport)
        self._hear()

    def leave(self) -> Left:
        """Waits until the viewers that joined have all seen the end of their runs."""
        return Left(**self._hear())

    def replay(self, url: str, run_id: str, transport: Transport) -> Replayed:
        """Reads the whole stream of a run that has ended."""
        self._tell(job="replay", url=url, run_id=run_id, transport=transport)
        return Replayed(**self._hear())

    def _tell(self, **job: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the load process has failed")
        return dict(json.loads(line))


@contextmanager
def running_load() -> Iterator[Load]:
    """Runs a load process for the time of the context."""
    command = [sys.executable, "-m", "benchmarks.support.load_process"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=CHECKOUT, stdin=pipe, stdout=pipe, text=True, preexec_fn=end_with_parent())
    try:
        yield Load(process)
    finally:
        process.kill()
        process.communicate()
