"""A Redis that is restarted, silent, gone, full, read-only, slow or shut to us, while runs stream on two workers.

Nothing may be lost that Redis can still take, and nobody is answered 500.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import requests
from redis import Redis

from tests.conftest import environment
from tests.support.client import RunClient, plugin_layers, prompt, wait_until
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_server import RedisServer, running_redis
from tests.support.streaming_runs import StreamingRuns, assert_unbroken, streaming_runs

PREFIX = "trouble"
PASSWORD = "canary-password-of-redis"
LEASE_SECONDS = 4
FAULT_SECONDS = 4
PAUSE_SECONDS = 10
GONE_SECONDS = float(os.environ.get("GREENRUN_TEST_REDIS_GONE_SECONDS", "15"))
"""How long faults last; a Redis that is gone for long is gone for 60 in the long form of the tests."""
MOST_GROWTH_BYTES = 100 << 20
"""Of a worker while Redis is gone; what its models would say in that time is several times more."""
QUICK_SECONDS = 8.0
"""Within which a request must be answered during trouble: twice what is promised, for a busy machine."""


@dataclass
class Rig:
    """A server with two workers and a Redis of its own, which keeps its data."""

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

    def wait_until_cancelled(self, run_id: str) -> None:
        wait_until(lambda: self.client.cancel(run_id).status_code == 200)
        assert self.client.follow(run_id)[-1].event == "run_cancelled"

    def running(self) -> list[str]:
        """The runs that are recorded as running."""
        raw = [self.redis.get(key) for key in self.redis.keys(f"{PREFIX}:runs:*:record")]
        records = [json.loads(record) for record in raw if record is not None]
        return [record["run_id"] for record in records if record["status"] == "running"]

    def is_ready(self) -> bool:
        """Whether all workers most likely are."""
        return all(requests.get(f"{self.server.url}/ready", timeout=30).status_code == 200 for _ in range(6))


def running_rig(daemon: ScriptedDaemon, stack: ExitStack, *, workers: int = 2) -> Rig:
    redis_server = stack.enter_context(running_redis(persistent=True, password=PASSWORD))
    env = environment(redis_server.url, daemon.url, redis_prefix=PREFIX, lease_seconds=LEASE_SECONDS)
    server = stack.enter_context(running_server(env, workers=workers))
    return Rig(server, redis_server, daemon, redis_server.client())


@pytest.fixture(scope="module")
def shared_rig(daemon: ScriptedDaemon) -> Iterator[Rig]:
    with ExitStack() as stack:
        yield running_rig(daemon, stack)


@pytest.fixture
def rig(shared_rig: Rig) -> Iterator[Rig]:
    """Whole before each test, and looked over after it."""
    wait_until(shared_rig.is_ready, timeout=60)
    workers, seen = shared_rig.server.workers(), len(shared_rig.server.log)

    yield shared_rig

    wait_until(shared_rig.is_ready, timeout=60)
    assert shared_rig.client.finish(shared_rig.client.create(prompt()))["type"] == "run_succeeded"
    log = shared_rig.server.log[seen:]
    assert shared_rig.server.workers() == workers
    assert "Traceback" not in log, log
    assert PASSWORD not in log
    assert "is lost" not in log, log
    wait_until(lambda: shared_rig.running() == [], timeout=60)
    assert shared_rig.redis.zcard(f"{PREFIX}:leases") == 0
    assert [key for key in shared_rig.redis.keys() if shared_rig.redis.ttl(key) < 0] == []


@dataclass
class Asker:
    """Sends requests of all kinds all the time, and keeps what was answered and how long it took."""

    url: str
    run_id: str
    answers: list[tuple[str, int, str, float]] = field(default_factory=list)

    def ask_while(self, is_going_on: Callable[[], bool]) -> None:
        while is_going_on():
            for ask in (self._ready, self._create, self._status, self._page, self._cancel):
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
    """Ask for the time of the block. All answers are good ones or 503, and none takes long."""
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


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def ended_run(rig: Rig) -> str:
    run_id = rig.client.create(prompt())
    rig.client.finish(run_id)
    return run_id


def test_a_restart_of_redis_with_its_data_loses_and_doubles_nothing(rig: Rig) -> None:
    with rig.streaming() as runs:
        for _ in range(2):
            rig.redis_server.restart()
            time.sleep(0.5)

        runs.assert_all_succeed()


def test_a_redis_that_was_killed_and_comes_back_loses_and_doubles_nothing(rig: Rig) -> None:
    with rig.streaming() as runs:
        rig.redis_server.kill()
        rig.redis_server.restart()

        runs.assert_all_succeed()


@pytest.mark.parametrize("what", ["ALL", "WRITE"])
def test_a_redis_that_pauses_for_longer_than_a_lease_loses_nothing(rig: Rig, what: str) -> None:
    earlier = ended_run(rig)
    with rig.streaming() as runs:
        rig.redis.execute_command("CLIENT", "PAUSE", PAUSE_SECONDS * 1000, what)
        with asking(rig, earlier) as answers:
            time.sleep(PAUSE_SECONDS)

        assert 503 in answers.statuses("create")
        runs.assert_all_succeed()


def test_a_redis_that_is_gone_for_long_loses_nothing_and_workers_do_not_grow(rig: Rig) -> None:
    earlier = ended_run(rig)
    rig.daemon.script("torrent", [{"stream": {"chunks": 1_000_000, "text": "w" * 1000}}])
    with rig.streaming() as runs:
        torrents = [rig.client.create(prompt(), *plugin_layers("torrent")) for _ in range(4)]
        rig.daemon.wait_for_call("torrent", count=4)
        rig.redis_server.kill()
        before = [resident_bytes(worker) for worker in rig.server.workers()]
        with asking(rig, earlier) as answers:
            time.sleep(GONE_SECONDS)
        after = [resident_bytes(worker) for worker in rig.server.workers()]
        rig.redis_server.restart()

        assert answers.statuses("status") == answers.statuses("create") == answers.statuses("ready") == {503}
        assert max(now - then for now, then in zip(after, before, strict=True)) < MOST_GROWTH_BYTES
        for run_id in torrents:
            rig.wait_until_cancelled(run_id)
        runs.assert_all_succeed()
        assert {reading.connections for reading in runs.readings} == {1}


def test_a_slow_redis_only_makes_everything_slow(rig: Rig) -> None:
    earlier = ended_run(rig)
    with rig.streaming() as runs:
        over = threading.Event()

        def hold_up() -> None:
            while not over.is_set():
                rig.redis.execute_command("DEBUG", "SLEEP", 0.3)

        holding = threading.Thread(target=hold_up)
        holding.start()
        try:
            with asking(rig, earlier) as answers:
                time.sleep(FAULT_SECONDS)
        finally:
            over.set()
            holding.join()

        assert answers.statuses("create") == {202}
        assert answers.statuses("status") == answers.statuses("ready") == {200}
        runs.assert_all_succeed()


def test_a_redis_that_is_frozen_for_a_while_loses_nothing_and_a_lost_answer_leaves_no_run(rig: Rig) -> None:
    earlier = ended_run(rig)
    with rig.streaming() as runs:
        rig.redis_server.pause()
        try:
            with asking(rig, earlier) as answers:
                refused = rig.client.post({"composition": {"layers": [prompt()]}})
                health = rig.server.get("/health")
                time.sleep(FAULT_SECONDS)
        finally:
            rig.redis_server.resume()

        assert answers.statuses("ready") <= {200, 503}
        assert (refused.status_code, refused.json()["code"]) == (503, "storage_unavailable")
        assert int(refused.headers["Retry-After"]) >= 1
        assert health.status_code == 200
        runs.assert_all_succeed()


def test_a_full_redis_gets_everything_when_it_has_room_again_also_now_and_then(rig: Rig) -> None:
    earlier = ended_run(rig)
    with rig.streaming() as runs:
        try:
            for _ in range(50):
                rig.redis.config_set("maxmemory", 1)
                time.sleep(0.02)
                rig.redis.config_set("maxmemory", 0)
                time.sleep(0.02)
            rig.redis.config_set("maxmemory", 1)
            with asking(rig, earlier) as answers:
                time.sleep(FAULT_SECONDS)
        finally:
            rig.redis.config_set("maxmemory", 0)

        assert 503 in answers.statuses("create")
        assert answers.statuses("status") == {200}
        runs.assert_all_succeed()


def test_a_redis_that_takes_no_writes_because_it_is_a_replica(rig: Rig) -> None:
    earlier = ended_run(rig)
    with rig.streaming() as runs:
        rig.redis.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            with asking(rig, earlier) as answers:
                time.sleep(FAULT_SECONDS)
        finally:
            rig.redis.execute_command("REPLICAOF", "NO", "ONE")

        assert answers.statuses("create") == {503}
        runs.assert_all_succeed()


def test_a_redis_that_takes_no_writes_because_it_cannot_save(rig: Rig) -> None:
    earlier = ended_run(rig)
    with rig.streaming() as runs:
        rig.redis.config_set("dbfilename", "no.rdb")
        rig.redis_server.folder.joinpath("no.rdb").mkdir()
        rig.redis.config_set("save", "3600 1")
        try:
            rig.redis.bgsave()
            wait_until(lambda: rig.redis.info("persistence")["rdb_last_bgsave_status"] == "err")
            with asking(rig, earlier) as answers:
                time.sleep(FAULT_SECONDS)
        finally:
            rig.redis.config_set("save", "")
            rig.redis_server.folder.joinpath("no.rdb").rmdir()

        assert 503 in answers.statuses("create")
        runs.assert_all_succeed()


def test_scripts_may_be_flushed_at_any_time(rig: Rig) -> None:
    with rig.streaming(words=200) as runs:
        over = threading.Event()

        def flush() -> None:
            while not over.wait(0.01):
                rig.redis.script_flush()

        flusher = threading.Thread(target=flush)
        flusher.start()
        try:
            for _ in range(30):
                assert rig.client.finish(rig.client.create(prompt()))["type"] == "run_succeeded"
            runs.assert_all_succeed()
        finally:
            over.set()
            flusher.join()


def test_a_redis_that_loads_its_data_slowly(rig: Rig) -> None:
    earlier = ended_run(rig)
    with rig.redis.pipeline(transaction=False) as pipeline:
        for number in range(5000):
            pipeline.set(f"filler:{number}", "x", ex=600)
        pipeline.execute()
    with rig.streaming() as runs:
        rig.redis_server.restart("--key-load-delay", "1000")
        loading = rig.redis.info("persistence")["loading"]
        with asking(rig, earlier) as answers:
            wait_until(lambda: not rig.redis.info("persistence")["loading"], timeout=60)

        assert loading
        assert 503 in answers.statuses("ready")
        runs.assert_all_succeed()


def test_a_redis_without_a_place_for_another_connection(rig: Rig) -> None:
    earlier = ended_run(rig)
    with rig.streaming() as runs:
        with ExitStack() as stack:
            rig.redis.config_set("maxclients", 1)
            stack.callback(lambda: rig.redis.config_set("maxclients", 10_000))
            for client in rig.redis.client_list():
                if client["name"].startswith("greenrun"):
                    rig.redis.client_kill_filter(_id=client["id"])
            with asking(rig, earlier) as answers:
                time.sleep(FAULT_SECONDS)

        assert answers.statuses("ready") == answers.statuses("create") == {503}
        runs.assert_all_succeed()


def test_runs_end_when_redis_has_lost_its_data_and_new_ones_begin_at_once(rig: Rig) -> None:
    with rig.streaming() as runs:
        calls = len(runs.ids)
        rig.redis_server.restart(keep_data=False)

        wait_until(rig.is_ready)
        assert rig.client.finish(rig.client.create(prompt()))["type"] == "run_succeeded"
        for number in range(calls):
            assert rig.daemon.wait_until_ended(runs.name, count=number + 1)["closed_by_client"]
        runs.wait_for_readers()
        for reading in runs.readings:
            assert_unbroken(reading.frames)
        assert rig.redis.keys(f"{PREFIX}:runs:{runs.ids[0]}*") == []


def test_a_run_whose_stream_alone_is_lost_ends_as_failed_for_storage(rig: Rig) -> None:
    with rig.streaming(count=1) as runs:
        (run_id,) = runs.ids

        rig.redis.delete(f"{PREFIX}:runs:{run_id}:events")

        rig.client.wait_for_status(run_id, "failed")
        (terminal,) = rig.client.follow(run_id)
        assert terminal.data["data"]["reason"] == "storage"
        assert rig.daemon.wait_until_ended(runs.name)["closed_by_client"]
        runs.wait_for_readers()
        for reading in runs.readings:
            assert reading.frames[-1] == terminal


@pytest.mark.parametrize("why", ["it is not there", "it has no place for another connection", "the password is wrong"])
def test_a_server_that_starts_while_redis_is_shut_to_it_says_so_and_works_once_it_is_not(
    daemon: ScriptedDaemon, why: str
) -> None:
    with ExitStack() as stack:
        redis_server = stack.enter_context(running_redis(persistent=True, password=PASSWORD))
        redis = redis_server.client()
        match why:
            case "it is not there":
                redis_server.stop()
            case "it has no place for another connection":
                redis.config_set("maxclients", 1)
            case "the password is wrong":
                redis.config_set("requirepass", "another")
        env = environment(redis_server.url, daemon.url, redis_prefix=PREFIX)
        server = stack.enter_context(starting_server(env))
        wait_until(lambda: is_listening(server), timeout=60)

        ready, created = server.get("/ready"), RunClient(server.url).post({"composition": {"layers": [prompt()]}})

        assert (ready.status_code, ready.json()["reasons"]) == (503, ["redis_unreachable"])
        assert (created.status_code, created.json()["code"]) == (503, "storage_unavailable")
        match why:
            case "it is not there":
                redis_server.restart()
            case "it has no place for another connection":
                redis.config_set("maxclients", 100)
            case "the password is wrong":
                assert "invalid username-password pair" in server.log
                redis.config_set("requirepass", PASSWORD)
        server.wait_until_ready()
        client = RunClient(server.url)
        assert client.finish(client.create(prompt()))["type"] == "run_succeeded"
        assert "Traceback" not in server.log
        assert PASSWORD not in server.log


@contextmanager
def starting_server(env: dict[str, str]) -> Iterator[GunicornServer]:
    """A server that may never be ready."""
    with TemporaryDirectory(prefix="gunicorn-") as folder:
        server = GunicornServer(Path(folder), env, workers=1, port=0, conf="gunicorn.conf.py", app="app:app")
        try:
            yield server
        finally:
            server.close()


def is_listening(server: GunicornServer) -> bool:
    try:
        return server.get("/health").status_code == 200
    except requests.RequestException:
        return False
