"""The load: a process of its own that posts runs and follows them, so that its CPU is not the server's.

It reads jobs from standard input, one line of JSON each, and answers each with a line.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.support.http_stream import Recording, post, send
from dev.processes import end_with_parent
from tests.support.gunicorn_server import CHECKOUT

POSTS_AT_ONCE = 32
JOINS_AT_ONCE = 64
STAMP_SEPARATOR = " "


@dataclass(frozen=True, slots=True)
class Followed:
    """What came of runs that were posted, each with a reader of its own; times in seconds.

    ``chars`` are those of the joined texts. ``latencies`` are of every stamped chunk, in the order of sending, as
    ``[sent_at, latency]``.
    """

    run_ids: list[str]
    seconds: float
    events: int
    chars: int
    latencies: list[tuple[float, float]]


class Load:
    """The load process as a benchmark sees it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def follow(
        self,
        url: str,
        layers: list[dict[str, Any]],
        *,
        runs: int,
        spacing: float = 0,
        read: bool = True,
        stamped: bool = False,
    ) -> Followed:
        """Post runs, ``spacing`` seconds apart or 32 at once, and read each one's stream unless told not to.

        Without readers ``seconds`` is the time until the last one was accepted.
        """
        body = {"composition": {"layers": layers}}
        self._tell(job="follow", url=url, body=body, runs=runs, spacing=spacing, read=read, stamped=stamped)
        return Followed(**self._hear())

    def join(self, url: str, run_id: str, viewers: int) -> None:
        """Have so many viewers join one run, and wait until all have their first bytes."""
        self._tell(job="watch", url=url, run_id=run_id, viewers=viewers)
        self._hear()

    def replay(self, url: str, run_id: str) -> tuple[float, int]:
        """Read the whole stream of a run that has ended: the seconds, and the events."""
        began = time.monotonic()
        self._tell(job="watch", url=url, run_id=run_id, viewers=1)
        self._hear()
        ended, events = self.leave()
        return ended - began, events

    def leave(self) -> tuple[float, int]:
        """Wait until the viewers that joined have all seen the run's end: when the last one did, and events in all."""
        answer = self._hear()
        return answer["last_at"], answer["events"]

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
    """A load process, which ends with the context."""
    command = [sys.executable, "-m", "benchmarks.support.load"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=CHECKOUT, stdin=pipe, stdout=pipe, text=True, preexec_fn=end_with_parent())
    try:
        yield Load(process)
    finally:
        process.kill()
        process.communicate()


async def _follow(
    url: str, body: dict[str, Any], runs: int, spacing: float, read: bool, stamped: bool
) -> dict[str, Any]:
    raw = json.dumps(body).encode()
    turns = asyncio.Semaphore(POSTS_AT_ONCE)
    recordings: list[Recording] = []

    async def one(number: int) -> str:
        await asyncio.sleep(number * spacing)
        async with turns:
            run_id = await post(f"{url}/runs", raw)
        if read:
            recording = await send("GET", f"{url}/runs/{run_id}/events/sse")
            recordings.append(recording)
            await recording.closed
        return run_id

    began = time.monotonic()
    run_ids = await asyncio.gather(*(one(number) for number in range(runs)))
    ended = max((recording.ended_at for recording in recordings), default=time.monotonic())
    events, chars, latencies = 0, 0, []
    for recording in recordings:
        frames = recording.frames()
        events += len(frames)
        for frame in frames:
            text = frame.text()
            chars += len(text)
            if stamped:
                sent = [float(stamp) for stamp in text.split(STAMP_SEPARATOR) if stamp]
                latencies += [(at, frame.at - at) for at in sent]
    return {
        "run_ids": run_ids,
        "seconds": ended - began,
        "events": events,
        "chars": chars,
        "latencies": sorted(latencies),
    }


async def _watch(url: str, run_id: str, viewers: int) -> dict[str, Any]:
    turns = asyncio.Semaphore(JOINS_AT_ONCE)

    async def join() -> Recording:
        async with turns:
            recording = await send("GET", f"{url}/runs/{run_id}/events/sse")
            await recording.answered
            return recording

    recordings = await asyncio.gather(*(join() for _ in range(viewers)))
    _say({"joined": viewers})
    await asyncio.gather(*(recording.closed for recording in recordings))
    last_at = max(recording.ended_at for recording in recordings)
    return {"last_at": last_at, "events": sum(len(recording.frames()) for recording in recordings)}


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Do jobs until standard input ends."""
    jobs: dict[str, Callable[..., Coroutine[Any, Any, dict[str, Any]]]] = {"follow": _follow, "watch": _watch}
    for line in sys.stdin:
        job = json.loads(line)
        _say(asyncio.run(jobs[job.pop("job")](**job)))


if __name__ == "__main__":
    main()
