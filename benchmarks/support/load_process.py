"""The load: a separate process that posts runs and follows them, so that its CPU does not count as the server's.

It reads jobs from standard input, one line of JSON each, and answers each with a line. It parses nothing before all of
it has come, so that it takes little CPU while a server is measured.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from benchmarks.support import http_stream, socket_stream
from benchmarks.support.recording import Recording
from benchmarks.support.transport import Transport

POSTS_AT_ONCE = 32
JOINS_AT_ONCE = 64
STAMP_SEPARATOR = " "

FOLLOW: dict[str, Callable[[str, str], Awaitable[Recording]]] = {
    Transport.SSE: http_stream.follow,
    Transport.WS: socket_stream.follow,
}


async def _follow(
    url: str, body: dict[str, Any], runs: int, spacing: float, transport: str | None, stamped: bool
) -> dict[str, Any]:
    raw = json.dumps(body).encode()
    turns = asyncio.Semaphore(POSTS_AT_ONCE)
    recordings: list[Recording] = []

    async def one(number: int) -> str:
        await asyncio.sleep(number * spacing)
        async with turns:
            run_id = await http_stream.post(url, raw)
        if transport is not None:
            recording = await FOLLOW[transport](url, run_id)
            recordings.append(recording)
            await recording.closed
        return run_id

    began, cpu = time.monotonic(), time.process_time()
    run_ids = await asyncio.gather(*(one(number) for number in range(runs)))
    closed_at, cpu = time.monotonic(), time.process_time() - cpu
    events, chars, latencies = 0, 0, []
    for recording in recordings:
        found = recording.events()
        events += len(found)
        for event in found:
            text = event.text()
            chars += len(text)
            if stamped:
                sent = [float(stamp) for stamp in text.split(STAMP_SEPARATOR) if stamp]
                latencies += [(at, event.at - at) for at in sent]
    return {
        "run_ids": run_ids,
        "seconds": max((recording.ended_at for recording in recordings), default=closed_at) - began,
        "events": events,
        "chars": chars,
        "latencies": sorted(latencies),
        "client_share": cpu / (closed_at - began),
    }


async def _watch(url: str, run_ids: list[str], viewers: int, transport: str) -> dict[str, Any]:
    turns = asyncio.Semaphore(JOINS_AT_ONCE)

    async def join(number: int) -> Recording:
        async with turns:
            recording = await FOLLOW[transport](url, run_ids[number % len(run_ids)])
            await recording.answered
            return recording

    recordings = await asyncio.gather(*(join(number) for number in range(viewers)))
    _say({"joined": viewers})
    await asyncio.gather(*(recording.closed for recording in recordings))
    closed_at, cpu = time.monotonic(), time.process_time()
    return {
        "last_at": max(recording.ended_at for recording in recordings),
        "events": sum(len(recording.events()) for recording in recordings),
        "lags": sorted(recording.lag() for recording in recordings),
        "closed_at": closed_at,
        "client_cpu": cpu,
    }


async def _replay(url: str, run_id: str, transport: str) -> dict[str, Any]:
    cpu = time.process_time()
    recording = await FOLLOW[transport](url, run_id)
    await recording.closed
    cpu = time.process_time() - cpu
    seconds = recording.ended_at - recording.began_at
    return {"seconds": seconds, "events": len(recording.events()), "client_share": cpu / seconds}


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Does jobs until standard input ends."""
    jobs: dict[str, Callable[..., Coroutine[Any, Any, dict[str, Any]]]] = {
        "follow": _follow,
        "watch": _watch,
        "replay": _replay,
    }
    # Collecting garbage amid thousands of recordings would delay reading; between jobs nothing waits for it.
    gc.disable()
    for line in sys.stdin:
        job = json.loads(line)
        answer = asyncio.run(jobs[job.pop("job")](**job))
        gc.collect()
        _say(answer)


if __name__ == "__main__":
    main()
