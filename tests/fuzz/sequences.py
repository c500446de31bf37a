"""A generated life of a server: runs are created, read and cancelled while its workers are killed and reloaded."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import requests
from redis import Redis
from simple_websocket import ConnectionClosed, ConnectionError

from tests.faults.conftest import assert_whole
from tests.fuzz.wire import connect, vanish
from tests.support.client import TERMINAL_TYPES, Frame, parse_frames, prompt, wait_until
from tests.support.gunicorn_server import GunicornServer
from tests.support.socket_client import WholeClient

PATIENCE = 90.0
RETRY_SECONDS = 0.05
READERS = 64
ENDLESS = {"delay_ms": 60_000}
SCRIPTS: list[dict[str, Any]] = [
    {"answer": "done"},
    {"answer": " ".join(["word"] * 40), "delay_ms": 10},
    {"answer": " ".join(["slow"] * 60), "delay_ms": 50},
    {"answer": "one two three", "fail": "broken", "fail_after": 2},
    ENDLESS,
]
ACTIONS = ["create"] * 8 + ["read"] * 4 + ["cancel"] * 3 + ["kill"] * 2 + ["wait"] * 2 + ["again", "vanish", "reload"]


class Trouble(Exception):
    """The server was away, or asked to retry, which every client must expect."""


@dataclass
class Life:
    """One sequence. ``step`` takes one action; ``settle`` ends what still runs and checks everything that happened."""

    server: GunicornServer
    redis: Redis
    prefix: str
    seed: int
    done: list[str] = field(default_factory=list)
    """The actions so far, to be shown when the sequence fails."""

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 (it must be repeatable, not secret)
        self._scripts: dict[str, dict[str, Any]] = {}
        self._keys: dict[str, tuple[dict[str, Any], str]] = {}
        self._cancelled: set[str] = set()
        self._refused: set[str] = set()
        self._reading: list[tuple[str, str, Future[list[Frame]]]] = []
        self._readers = ThreadPoolExecutor(READERS)

    def step(self) -> None:
        action = self._random.choice(ACTIONS)
        self.done.append(action)
        getattr(self, f"_{action}")()

    def settle(self) -> None:
        """Ends what still runs and checks every run. Raises ``AssertionError`` when a promise was broken."""
        for run_id, script in self._scripts.items():
            if script is ENDLESS:
                self._cancel_run(run_id)
        frames = {run_id: read(self.server.url, run_id, "whole", self._random.random()) for run_id in self._scripts}
        for run_id, mode, reading in self._reading:
            assert reading.result(PATIENCE) == frames[run_id], f"{run_id}: a reader ({mode}) got something else"
        self._readers.shutdown()
        wait_until(self._all_have_ended, timeout=PATIENCE)
        for run_id, found in frames.items():
            self._check_run(run_id, found)

    def _create(self) -> None:
        script = self._random.choice(SCRIPTS)
        key = f"{self.seed}-{len(self.done)}"
        self._keys[key] = script, self._post_run(key, script)

    def _again(self) -> None:
        """Repeats a request, which must give the same run unless that has failed or was cancelled."""
        if self._keys:
            key, (script, earlier) = self._random.choice(list(self._keys.items()))
            run_id = self._post_run(key, script)
            assert run_id == earlier or self._status(earlier) in ("failed", "cancelled")
            self._keys[key] = script, run_id

    def _post_run(self, key: str, script: dict[str, Any]) -> str:
        model = {"name": "llm", "type": "greenrun.demo_llm", "config": script}
        body = {"composition": {"layers": [prompt(), model]}, "idempotency_key": key}
        answer = self._call("POST", "/runs", json=body)
        assert answer.status_code == 202, answer.text
        run_id = str(answer.json()["run_id"])
        self._scripts[run_id] = script
        return run_id

    def _cancel(self) -> None:
        if self._scripts:
            self._cancel_run(self._some_run())

    def _cancel_run(self, run_id: str) -> None:
        answer = self._call("POST", f"/runs/{run_id}/cancel")
        assert answer.status_code in (200, 409), answer.text
        (self._cancelled if answer.status_code == 200 else self._refused).add(run_id)

    def _read(self) -> None:
        """Starts two readers of a run: one whose connection breaks again and again, and one of another kind."""
        if self._scripts:
            run_id = self._some_run()
            for mode in ("cut", self._random.choice(["whole", "page", "socket"])):
                reading = self._readers.submit(read, self.server.url, run_id, mode, self._random.random())
                self._reading.append((run_id, mode, reading))

    def _vanish(self) -> None:
        """Reads a part of a run and disconnects abruptly."""
        if self._scripts:
            with suppress(OSError), connect(self.server.url) as connection:
                path = f"/runs/{self._some_run()}/events/sse"
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
                connection.recv(self._random.choice([1, 100, 10_000]))
                vanish(connection)

    def _wait(self) -> None:
        time.sleep(self._random.random())

    def _kill(self) -> None:
        if workers := self.server.workers():
            with suppress(ProcessLookupError):
                os.kill(self._random.choice(workers), signal.SIGKILL)

    def _reload(self) -> None:
        self.server.send_signal(signal.SIGHUP)

    def _some_run(self) -> str:
        return self._random.choice(list(self._scripts)[-8:])

    def _status(self, run_id: str) -> str:
        answer = self._call("GET", f"/runs/{run_id}")
        assert answer.status_code == 200, answer.text
        return str(answer.json()["status"])

    def _call(self, method: str, path: str, **options: Any) -> requests.Response:
        return retried(lambda: request(method, self.server.url + path, **options))

    def _all_have_ended(self) -> bool:
        """Whether all runs have ended, including those whose callers never got the answer."""
        records = [self.redis.get(key) for key in self.redis.scan_iter(f"{self.prefix}:runs:*:record")]
        return all(json.loads(record)["status"] != "running" for record in records if record)

    def _check_run(self, run_id: str, frames: list[Frame]) -> None:
        script, end = self._scripts[run_id], frames[-1]
        assert_whole(frames)
        assert end.event == f"run_{self._status(run_id)}"
        stored: Any = self.redis.xrange(f"{self.prefix}:runs:{run_id}:events")
        assert [entry.decode() for entry, _ in stored] == [frame.id for frame in frames]
        assert (end.event == "run_cancelled") == (run_id in self._cancelled)
        assert not (run_id in self._cancelled and run_id in self._refused)
        if end.event == "run_succeeded":
            assert "fail" not in script
            assert "".join(frame.data.get("agent_message_delta") or "" for frame in frames) == script["answer"]
        if end.event == "run_failed" and "reason" in end.data["data"]:
            assert end.data["data"]["reason"] in ("worker_lost", "shutdown")


def read(url: str, run_id: str, mode: str, dice: float) -> list[Frame]:
    """Reads all events of a run, over as many connections as it takes; ``dice`` decides where they are cut."""
    frames: list[Frame] = []
    most = 1 + int(dice * 6) if mode == "cut" else None
    end = time.monotonic() + PATIENCE
    while not frames or frames[-1].event not in TERMINAL_TYPES:
        assert time.monotonic() < end, f"{run_id} has not ended, {mode} after {len(frames)} events"
        after = frames[-1].id if frames else "0-0"
        with suppress(Trouble):
            for frame in _WAYS[mode](url, run_id, after):
                frames.append(frame)
                if most is not None and len(frames) % most == 0:
                    break
    return frames


def _by_stream(url: str, run_id: str, after: str) -> Iterator[Frame]:
    headers = {"Last-Event-ID": after}
    with request("GET", f"{url}/runs/{run_id}/events/sse", headers=headers, stream=True) as response:
        assert response.status_code == 200, response.text
        with suppress(requests.RequestException):  # the worker was killed
            yield from parse_frames(response.iter_content(None))


def _by_page(url: str, run_id: str, after: str) -> Iterator[Frame]:
    response = request("GET", f"{url}/runs/{run_id}/events", params={"after": after, "limit": "7"})
    assert response.status_code == 200, response.text
    time.sleep(RETRY_SECONDS)
    for event in response.json()["events"]:
        yield Frame(event["id"], event["type"], event)


def _by_socket(url: str, run_id: str, after: str) -> Iterator[Frame]:
    try:
        client = WholeClient.connect(f"{url.replace('http://', 'ws://')}/runs/{run_id}/events/ws?after={after}")
    except (OSError, ConnectionError):
        time.sleep(RETRY_SECONDS)
        raise Trouble from None
    with suppress(ConnectionClosed):
        while True:
            if (text := client.receive(timeout=1)) is not None:
                event = json.loads(text)
                yield Frame(event["id"], event["type"], event)


_WAYS: dict[str, Callable[[str, str, str], Iterator[Frame]]] = {
    "whole": _by_stream,
    "cut": _by_stream,
    "page": _by_page,
    "socket": _by_socket,
}


def request(method: str, url: str, **options: Any) -> requests.Response:
    """Sends a request on a new connection, so that any worker may get it. Raises ``Trouble``."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            response = session.request(method, url, timeout=PATIENCE, **options)
        except requests.RequestException:
            time.sleep(RETRY_SECONDS)
            raise Trouble from None
    assert response.status_code < 500 or response.status_code == 503, response.text
    if response.status_code == 503:
        assert set(response.json()) == {"code", "message", "status", "detail"}
        time.sleep(RETRY_SECONDS)
        raise Trouble
    return response


def retried(call: Callable[[], requests.Response]) -> requests.Response:
    end = time.monotonic() + PATIENCE
    while True:
        with suppress(Trouble):
            return call()
        assert time.monotonic() < end, "the server does not answer"
