"""Runs that stream through a fault, with readers, and checks of them afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

import requests

from tests.support.client import TERMINAL_TYPES, Frame, RunClient, plugin_layers, prompt, wait_until
from tests.support.plugin_daemon import ScriptedDaemon

BEGINNING_CHARACTERS = 200
"""How much of a run's text must have been streamed before a fault begins."""
FINISH_SECONDS = 120.0
MOST_READERS = 16


@dataclass
class Reading:
    """What one reader has received of one run, over as many connections as it took."""

    run_id: str
    frames: list[Frame]
    connections: int = 0
    is_over: bool = False

    def read(self, client: RunClient) -> None:
        """Reads to the terminal event, or until the run is unknown. Each connection resumes behind the last event."""
        end = time.monotonic() + FINISH_SECONDS
        while not self.is_over and time.monotonic() < end:
            self.connections += 1
            try:
                self._read_once(client)
            except requests.RequestException:
                time.sleep(0.1)

    def _read_once(self, client: RunClient) -> None:
        url = f"{client.url}/runs/{self.run_id}/events"
        if requests.get(url, timeout=30).status_code == 404:
            self.is_over = True
            return
        after = self.frames[-1].id if self.frames else None
        try:
            for frame in client.stream(self.run_id, after=after, timeout=60):
                self.frames.append(frame)
        except AssertionError:
            time.sleep(0.1)  # a 503, or 404 from now on: the next round handles both
        self.is_over = bool(self.frames) and self.frames[-1].event in TERMINAL_TYPES


class StreamingRuns:
    """Runs whose model streams numbered words, waits for ``release`` and streams the rest."""

    def __init__(self, client: RunClient, daemon: ScriptedDaemon, *, count: int, words: int, pause: float) -> None:
        self.name = f"numbered-{uuid4().hex}"
        self.text = "".join(f"{number} " for number in range(words))
        self.tail = "and no more"
        self._client = client
        self._daemon = daemon
        daemon.script(
            self.name,
            [
                {"text": self.text, "split": 10, "pause": pause},
                {"wait": self.name},
                {"text": self.tail, "split": 3},
                {"finish": "stop"},
            ],
        )
        self.ids = [client.create(prompt(), *plugin_layers(self.name)) for _ in range(count)]
        self.readings: list[Reading] = []
        self._pool = ThreadPoolExecutor(MOST_READERS)
        self._reading: list[Future[None]] = []
        for _ in range(2):
            self.begin_reading()

    def begin_reading(self) -> None:
        """Starts one more reader of each run, from its beginning."""
        for run_id in self.ids:
            reading = Reading(run_id, [])
            self.readings.append(reading)
            self._reading.append(self._pool.submit(reading.read, self._client))

    def wait_until_streaming(self) -> None:
        wait_until(lambda: all(len(text_of(one.frames)) > BEGINNING_CHARACTERS for one in self.readings))

    def release(self) -> None:
        """Lets the model stream the rest."""
        self._daemon.release(self.name)

    def wait_for_readers(self) -> None:
        """Waits until every reader has seen the end of its run."""
        for reading in self._reading:
            reading.result(FINISH_SECONDS + 30)
        assert all(reading.is_over for reading in self.readings)

    def assert_all_succeed(self) -> None:
        """Asserts that all runs succeed and that every event has reached every reader once and in order."""
        self.release()
        self.wait_for_readers()
        for reading in self.readings:
            assert_unbroken(reading.frames)
            assert reading.frames[-1].data["type"] == "run_succeeded", reading.frames[-1].data
            assert text_of(reading.frames) == self.text + self.tail
            assert reading.frames[-1].data["data"]["output"] == self.text + self.tail
            assert reading.frames == self._client.follow(reading.run_id)
            assert self._client.status(reading.run_id)["status"] == "succeeded"

    def close(self) -> None:
        self.release()
        self._pool.shutdown()


@contextmanager
def streaming_runs(
    client: RunClient, daemon: ScriptedDaemon, *, count: int = 4, words: int = 600, pause: float = 0.01
) -> Iterator[StreamingRuns]:
    """Starts runs with two readers each; they stream when the block begins."""
    runs = StreamingRuns(client, daemon, count=count, words=words, pause=pause)
    try:
        runs.wait_until_streaming()
        yield runs
    finally:
        runs.close()


def assert_unbroken(frames: list[Frame]) -> None:
    """Asserts that the ids go up one by one, and that a terminal event, if there is one, is the last."""
    *before, last = frames
    count = len(frames) if last.event not in TERMINAL_TYPES else len(before)
    assert [frame.id for frame in frames[:count]] == [f"1-{number}" for number in range(1, count + 1)]
    assert not TERMINAL_TYPES & {frame.event for frame in before}


def text_of(frames: list[Frame]) -> str:
    """The text that the model has streamed so far."""
    return "".join(_text_of(frame) for frame in frames)


def _text_of(frame: Frame) -> str:
    data = frame.data["data"]
    match data.get("event_kind"):
        case "part_start":
            return str(data["part"]["content"])
        case "part_delta":
            return str(data["delta"]["content_delta"])
    return ""
