"""A server whose Redis fails while runs stream and requests arrive, and checks of what must hold meanwhile."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import requests
from redis import Redis

from tests.conftest import environment
from tests.support.client import RunClient, prompt, wait_until
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_server import RedisServer, running_redis
from tests.support.streaming_runs import StreamingRuns, streaming_runs

PREFIX = "trouble"
PASSWORD = "canary-password-of-redis"
LEASE_SECONDS = 4
QUICK_SECONDS = 8.0
"""The time within which a request must be answered during trouble: twice what is promised, for a busy machine."""


@dataclass
class Rig:
    """A server with two workers, and its own Redis, which keeps its data."""

    server: GunicornServer
    redis_server: RedisServer
    daemon: ScriptedDaemon
    redis: Redis

    @property
    def client(self) -> RunClient:
        return RunClient(self.server.url)

    @contextmanager
    def streaming(self, **options: Any) -> Iterator[StreamingRuns]:
        with streaming_runs(self.client, self.daemon, **options) as runs:
            yield runs

    def ended_run(self) -> str:
        """Creates a run, waits for its end and returns its id."""
        run_id = self.client.create(prompt())
        self.client.finish(run_id)
        return run_id

    def wait_until_cancelled(self, run_id: str) -> None:
        wait_until(lambda: self.client.cancel(run_id).status_code == 200)
        assert self.client.follow(run_id)[-1].event == "run_cancelled"

    def running(self) -> list[str]:
        """The ids of the runs that are stored as running."""
        raw = [self.redis.get(key) for key in self.redis.keys(f"{PREFIX}:runs:*:record")]
        records = [json.loads(record) for record in raw if record is not None]
        return [record["run_id"] for record in records if record["status"] == "running"]

    def connections(self) -> set[str]:
        """The ids of the connections on which the workers write."""
        names = {"greenrun-log", "greenrun-requests"}
        return {client["id"] for client in self.redis.client_list() if client["name"] in names}

    def kept_for_ever(self) -> list[bytes]:
        """The keys without a lifetime; among them the key of the leases while there are any."""
        return [key for key in self.redis.scan_iter() if self.redis.ttl(key) == -1]

    def is_ready(self) -> bool:
        """Whether all workers are ready, as far as several requests can show."""
        return all(requests.get(f"{self.server.url}/ready", timeout=30).status_code == 200 for _ in range(6))


def running_rig(daemon: ScriptedDaemon, stack: ExitStack, *, workers: int = 2) -> Rig:
    redis_server = stack.enter_context(running_redis(persistent=True, password=PASSWORD))
    env = environment(redis_server.url, daemon.url, redis_prefix=PREFIX, lease_seconds=LEASE_SECONDS)
    server = stack.enter_context(running_server(env, workers=workers, cold=True))  # its memory is measured
    return Rig(server, redis_server, daemon, redis_server.client())


@dataclass
class Asker:
    """Sends requests of all kinds continuously, and keeps the answers and how long each took."""

    url: str
    run_id: str
    answers: list[tuple[str, int, str, float]] = field(default_factory=list)

    def ask_while(self, is_going_on: Callable[[], bool]) -> None:
        for ask in cycle((self._ready, self._create, self._status, self._page, self._cancel)):
            if not is_going_on():
                return
            self._ask(ask)
            time.sleep(0.02)

    def _ask(self, ask: Callable[[], requests.Response]) -> None:
        begun = time.monotonic()
        response = ask()
        took = time.monotonic() - begun
        body = response.json()
        code = str(body.get("code") or body.get("reasons", ""))
        self.answers.append((ask.__name__.strip("_"), response.status_code, code, took))

    def _ready(self) -> requests.Response:
        return requests.get(f"{self.url}/ready", timeout=60)

    def _create(self) -> requests.Response:
        return requests.post(f"{self.url}/runs", json={"composition": {"layers": [prompt()]}}, timeout=60)

    def _status(self) -> requests.Response:
        return requests.get(f"{self.url}/runs/{self.run_id}", timeout=60)

    def _page(self) -> requests.Response:
        return requests.get(f"{self.url}/runs/{self.run_id}/events", timeout=60)

    def _cancel(self) -> requests.Response:
        return requests.post(f"{self.url}/runs/{self.run_id}/cancel", timeout=60)

    def statuses(self, name: str) -> set[int]:
        return {status for what, status, _, _ in self.answers if what == name}


@contextmanager
def asking(rig: Rig, run_id: str) -> Iterator[Asker]:
    """Sends requests for the time of the block. Every answer must be a good one or 503, and come quickly."""
    askers = [Asker(rig.server.url, run_id) for _ in range(3)]
    over = threading.Event()
    threads = [threading.Thread(target=asker.ask_while, args=(lambda: not over.is_set(),)) for asker in askers]
    for thread in threads:
        thread.start()
    together = Asker(rig.server.url, run_id)
    try:
        yield together
    finally:
        over.set()
        for thread in threads:
            thread.join()
    together.answers += [answer for asker in askers for answer in asker.answers]
    for what, status, code, took in together.answers:
        assert status in {200, 202, 409} or (status, code) in {
            (503, "storage_unavailable"),
            (503, "['redis_unreachable']"),
        }, (what, status, code)
        assert took < QUICK_SECONDS, (what, status, took)
