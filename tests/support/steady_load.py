"""A steady load: runs that start continuously, each with its readers, and each checked as soon as it has ended.

When a connection ends, for whatever reason, its reader resumes behind the last event it has. A run is whole when its
events are in order without duplicates, nothing follows the first terminal event, all readers have the same events, and
the record agrees.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tests.support.client import TERMINAL_TYPES, demo_llm, prompt, wait_until
from tests.support.raw_http import Lost, ask, open_answer, request_bytes

RETRY_SECONDS = 0.1
LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Shape:
    """The parameters of the load. Shares are between 0 and 1."""

    runs_a_second: float = 4
    most_runs: int = 60
    """The most runs at a time. Without it, a machine that cannot keep up would have more and more to do."""
    readers_a_run: int = 13
    words: int = 20
    delay_ms: int = 200
    leaving_readers: float = 0.25
    """The share of readers that leave in the middle and come back."""
    cancelled_runs: float = 0.0
    vanishing_readers: int = 0
    """Readers of each run that leave for good."""


class SteadyLoad:
    """Runs the load in a separate thread for the time of the block.

    ``ends`` counts the ended runs by terminal type, with the reason if there is one. ``violations`` are broken
    promises: unless it is empty, the server is wrong. ``failures`` are requests whose connection was lost before
    there was an answer, with the time (``time.monotonic``); ``refusals`` are answers to a start other than 202, with
    the time; ``cuts`` counts streams that the server ended before the run's end.
    """

    def __init__(self, url: str, shape: Shape, *, seed: int = 0) -> None:
        self.url = url
        self.ends: Counter[str] = Counter()
        self.violations: list[str] = []
        self.failures: list[tuple[float, str]] = []
        self.refusals: list[tuple[float, int]] = []
        self.cuts = 0
        self.open_streams = 0
        self.accepted: dict[str, float] = {}
        """The ids of the runs that are not checked yet, each with the time at which it was accepted."""
        self._shape = shape
        self._random = random.Random(seed)  # noqa: S311
        self._is_starting = True
        self._is_left = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), name="steady load", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop_starting()
        self._is_left = True
        self._thread.join()

    def stop_starting(self) -> None:
        """Starts no more runs; those that have started are followed to their ends."""
        self._is_starting = False

    def wait_until_checked(self, *, timeout: float) -> None:
        """Waits until every accepted run has ended and been checked. Those that have not by then are violations."""
        self._thread.join(timeout)
        if self._thread.is_alive():
            self.violations += [f"run {run_id}: has not ended for all its readers" for run_id in self.accepted]

    def wait_for_more(self, runs: int, *, timeout: float = 60) -> None:
        """Waits until that many more runs have ended."""
        enough = self.ends.total() + runs
        wait_until(lambda: self.ends.total() >= enough, timeout=timeout)

    async def _live(self) -> None:
        begun = time.monotonic()
        lives: set[asyncio.Task[None]] = set()
        count = 0
        while self._is_starting:
            if len(lives) < self._shape.most_runs:
                life = asyncio.create_task(self._live_one())
                lives.add(life)
                life.add_done_callback(lives.discard)
            count += 1
            await asyncio.sleep(max(0.0, begun + count / self._shape.runs_a_second - time.monotonic()))
        while lives and not self._is_left:
            await asyncio.wait(lives, timeout=LOOK_SECONDS)

    async def _live_one(self) -> None:
        try:
            run_id = await self._start()
            if run_id is not None:
                await self._follow_to_the_end(run_id)
                del self.accepted[run_id]
        except Exception as error:
            self.violations.append(f"a run could not be followed: {error!r}")

    async def _start(self) -> str | None:
        shape = self._shape
        model = demo_llm(answer="word " * shape.words, delay_ms=shape.delay_ms)
        body = {"composition": {"layers": [prompt(), model]}}
        try:
            answer = await ask(self.url, "POST", "/runs", body)
        except Lost as error:
            self.failures.append((time.monotonic(), f"POST /runs: {error}"))
            return None
        if answer.status != 202:
            self.refusals.append((time.monotonic(), answer.status))
            return None
        run_id = str(answer.json()["run_id"])
        self.accepted[run_id] = time.monotonic()
        return run_id

    async def _follow_to_the_end(self, run_id: str) -> None:
        shape = self._shape
        readers = [asyncio.create_task(self._read(run_id)) for _ in range(shape.readers_a_run)]
        others = [asyncio.create_task(self._vanish(run_id)) for _ in range(shape.vanishing_readers)]
        if self._random.random() < shape.cancelled_runs:
            others.append(asyncio.create_task(self._cancel(run_id)))
        read = await asyncio.gather(*readers)
        await asyncio.gather(*others)
        record = await self._get_record(run_id)
        self._check(run_id, read, record)

    async def _read(self, run_id: str) -> list[bytes]:
        """Reads all frames of a run, over as many connections as it takes."""
        frames: list[bytes] = []
        while not (frames and kind(frames[-1]) in TERMINAL_TYPES):
            leaves_after = None
            if self._random.random() < self._shape.leaving_readers:
                leaves_after = self._random.randint(1, self._shape.words)
            try:
                is_cut = await self._read_some(run_id, frames, leaves_after)
            except Lost as error:
                is_cut = error.had_begun
                if not is_cut:
                    self.failures.append((time.monotonic(), f"GET events: {error}"))
                    await asyncio.sleep(RETRY_SECONDS)
            self.cuts += is_cut
        return frames

    async def _read_some(self, run_id: str, frames: list[bytes], leaves_after: int | None) -> bool:
        """Adds the frames of one connection and returns whether the server has ended it too early. Raises ``Lost``."""
        headers = {"Last-Event-ID": cursor(frames[-1])} if frames else {}
        enough = None if leaves_after is None else len(frames) + leaves_after
        async with open_answer(self.url, request_bytes("GET", f"/runs/{run_id}/events/sse", headers=headers)) as answer:
            if answer.status != 200:
                self._note_status(answer.status, run_id)
                await asyncio.sleep(RETRY_SECONDS)
                return False
            self.open_streams += 1
            try:
                rest = b""
                async for chunk in answer.chunks():
                    *whole, rest = (rest + chunk).split(b"\n\n")
                    frames += [frame for frame in whole if frame.startswith(b"id: ")]
                    if enough is not None and len(frames) >= enough:
                        return False
            finally:
                self.open_streams -= 1
        if rest:
            self.violations.append(f"run {run_id}: a stream ended inside a frame")
        return kind(frames[-1]) not in TERMINAL_TYPES if frames else True

    async def _vanish(self, run_id: str) -> None:
        """Connects, waits for up to a second and leaves without a close."""
        request = request_bytes("GET", f"/runs/{run_id}/events/sse")
        try:
            async with open_answer(self.url, request):
                await asyncio.sleep(self._random.random())
        except Lost:
            return

    async def _cancel(self, run_id: str) -> None:
        await asyncio.sleep(self._random.random() * self._shape.words * self._shape.delay_ms / 1000)
        try:
            answer = await ask(self.url, "POST", f"/runs/{run_id}/cancel")
        except Lost as error:
            self.failures.append((time.monotonic(), f"POST cancel: {error}"))
            return
        if answer.status not in (200, 409):
            self._note_status(answer.status, run_id)

    async def _get_record(self, run_id: str) -> dict[str, Any]:
        while True:
            try:
                answer = await ask(self.url, "GET", f"/runs/{run_id}")
            except Lost as error:
                self.failures.append((time.monotonic(), f"GET status: {error}"))
            else:
                if answer.status == 200:
                    return answer.json()
                self._note_status(answer.status, run_id)
            await asyncio.sleep(RETRY_SECONDS)

    def _note_status(self, status: int, run_id: str) -> None:
        """Accepts a 503; for an accepted run any other status is a violation."""
        if status == 503:
            self.refusals.append((time.monotonic(), status))
        else:
            self.violations.append(f"run {run_id}: answered {status}")

    def _check(self, run_id: str, read: list[list[bytes]], record: dict[str, Any]) -> None:
        frames = read[0]
        positions = [tuple(map(int, cursor(frame).split("-"))) for frame in frames]
        kinds = [kind(frame) for frame in frames]
        found = {
            "the readers differ": any(other != frames for other in read),
            "the ids do not rise": positions != sorted(set(positions)),
            "it does not begin with its start": kinds[0] != "run_started",
            "it has not exactly one end": sum(one in TERMINAL_TYPES for one in kinds) != 1,
            f"its record says {record['status']}": kinds[-1] != f"run_{record['status']}",
            "a word is missing": kinds[-1] == "run_succeeded" and frames[-2].count(b"word") != self._shape.words,
        }
        self.violations += [f"run {run_id}: {what}" for what, is_so in found.items() if is_so]
        _, _, reason = frames[-1].partition(b'"reason":"')
        self.ends[" ".join(filter(None, [kinds[-1], reason.partition(b'"')[0].decode()]))] += 1


def cursor(frame: bytes) -> str:
    return frame.split(b"\n", 1)[0].removeprefix(b"id: ").decode()


def kind(frame: bytes) -> str:
    return frame.split(b"\n", 2)[1].removeprefix(b"event: ").decode()
