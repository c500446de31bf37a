"""Two servers of two or four workers each with one Redis and prefix: any worker can answer for every run."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from uuid import uuid4

import pytest
import requests

from tests.conftest import environment
from tests.faults.conftest import assert_whole
from tests.support.client import Frame, RunClient, demo_llm, plugin_layers, prompt, wait_until
from tests.support.feed_client import FeedClient
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_server import RedisServer, running_redis

PREFIX = "many-workers"
OPERATOR = "operator-token-of-the-tests"
RUNS = 24

Servers = tuple[GunicornServer, GunicornServer]


@pytest.fixture(scope="module")
def redis_of_servers() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture(scope="module", params=[(2, 1), (4, 2)], ids=["2 and 1 workers", "4 and 2 workers"])
def servers(request: pytest.FixtureRequest, redis_of_servers: RedisServer, daemon: ScriptedDaemon) -> Iterator[Servers]:
    """Two servers with this many workers each."""
    env = environment(redis_of_servers.url, daemon.url, redis_prefix=PREFIX, admin_token=OPERATOR, lease_seconds=4)
    with ExitStack() as stack:
        one, other = (stack.enter_context(running_server(env, workers=workers)) for workers in request.param)
        yield one, other
        assert "Traceback" not in one.log + other.log


@pytest.fixture
def clients(servers: Servers) -> tuple[RunClient, RunClient]:
    return RunClient(servers[0].url), RunClient(servers[1].url)


def workers_of(redis: RedisServer, run_ids: list[str]) -> set[str]:
    """The workers that execute these runs."""
    records = redis.client().mget([f"{PREFIX}:runs:{run_id}:record" for run_id in run_ids])
    return {str(json.loads(record or "")["worker"]) for record in records}


def runs_on_all_workers(
    servers: Servers, clients: tuple[RunClient, RunClient], redis: RedisServer, *layers: dict[str, object]
) -> list[str]:
    """Creates runs until every worker has some: which worker takes a connection is left to chance."""
    run_ids: list[str] = []

    def are_enough() -> bool:
        run_ids.extend(RunClient(client.url).create(*layers) for client in clients)
        everybody = len(servers[0].workers()) + len(servers[1].workers())
        return len(run_ids) >= RUNS and len(workers_of(redis, run_ids)) >= everybody

    wait_until(are_enough, timeout=60)
    return run_ids


def assert_numbered(frames: list[Frame]) -> None:
    """Asserts that these are all events of a run, without a gap."""
    assert_whole(frames)
    assert [frame.id for frame in frames[:-1]] == [f"1-{number}" for number in range(1, len(frames))]


def read_everywhere(clients: tuple[RunClient, RunClient], run_ids: list[str], times: int = 2) -> list[list[Frame]]:
    """Reads each run on both servers, asserts that all readers agree, and returns its frames."""
    with ThreadPoolExecutor(RUNS) as readers:
        reading = [
            [readers.submit(RunClient(client.url).follow, run_id) for client in clients for _ in range(times)]
            for run_id in run_ids
        ]
        read = [[future.result() for future in futures] for futures in reading]
    for everybody in read:
        assert all(frames == everybody[0] for frames in everybody)
    return [everybody[0] for everybody in read]


def test_runs_of_all_workers_are_read_alike_everywhere_and_every_worker_knows_their_status(
    servers: Servers, clients: tuple[RunClient, RunClient], redis_of_servers: RedisServer
) -> None:
    layers = (prompt(), demo_llm(answer="word " * 20, delay_ms=20))
    run_ids = runs_on_all_workers(servers, clients, redis_of_servers, *layers)

    for frames in read_everywhere(clients, run_ids):
        assert_numbered(frames)
        assert frames[-1].event == "run_succeeded"

    for run_id in run_ids:
        for client in clients:
            assert RunClient(client.url).status(run_id)["status"] == "succeeded"


def test_a_cancel_by_any_worker_ends_a_run_of_any_other_for_all(
    servers: Servers, clients: tuple[RunClient, RunClient], redis_of_servers: RedisServer, daemon: ScriptedDaemon
) -> None:
    daemon.script("many-hang", [{"text": "begun"}, {"hang": True}])
    run_ids = runs_on_all_workers(servers, clients, redis_of_servers, prompt(), *plugin_layers("many-hang"))

    for number, run_id in enumerate(run_ids):
        answer = RunClient(clients[number // 2 % 2].url).cancel(run_id)
        assert answer.json() == {"run_id": run_id, "status": "cancelled"}

    wait_until(lambda: all(call["closed_by_client"] for call in daemon.calls("many-hang")))
    for frames in read_everywhere(clients, run_ids):
        assert_whole(frames)
        assert frames[-1].event == "run_cancelled"


def test_one_idempotency_key_is_one_run_whichever_workers_are_asked(
    clients: tuple[RunClient, RunClient],
) -> None:
    body = {"composition": {"layers": [prompt(), demo_llm()]}, "idempotency_key": uuid4().hex}

    def create(number: int) -> str:
        response = RunClient(clients[number % 2].url).post(body)
        assert response.status_code == 202, response.text
        return str(response.json()["run_id"])

    with ThreadPoolExecutor(16) as callers:
        run_ids = set(callers.map(create, range(32)))

    assert len(run_ids) == 1


def test_the_feed_of_each_server_has_the_runs_of_all_workers(
    servers: Servers, clients: tuple[RunClient, RunClient], redis_of_servers: RedisServer
) -> None:
    feeds = [FeedClient(server.url, token=OPERATOR) for server in servers]
    try:
        for feed in feeds:
            feed.follow_runs()
        run_ids = runs_on_all_workers(servers, clients, redis_of_servers, prompt(), demo_llm())
        wanted = {(run_id, status) for run_id in run_ids for status in ("running", "succeeded")}

        for feed in feeds:
            told: list[tuple[str, str]] = []
            while not wanted <= set(told):
                message = feed.receive()
                told.append((message["run"]["run_id"], message["run"]["status"]))
            assert len(told) == len(set(told))
    finally:
        for feed in feeds:
            feed.close()


def test_a_worker_that_is_killed_takes_only_its_own_runs_along(
    servers: Servers, clients: tuple[RunClient, RunClient], redis_of_servers: RedisServer, daemon: ScriptedDaemon
) -> None:
    model = f"killed-{uuid4().hex}"
    daemon.script(model, [{"text": "begun"}, {"wait": model}, {"finish": "stop"}])
    layers = (prompt(), *plugin_layers(model))
    run_ids = runs_on_all_workers(servers, clients, redis_of_servers, *layers)
    daemon.wait_for_call(model, count=len(run_ids))
    killed = servers[0].workers()[0]
    with ThreadPoolExecutor(2 * len(run_ids)) as readers:
        reading = [readers.submit(read_on, client, run_id) for run_id in run_ids for client in clients]

        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: killed not in servers[0].workers() and len(failed(clients[1], run_ids)) > 0)
        lost = failed(clients[1], run_ids)
        daemon.release(model)
        read = [future.result() for future in reading]

    assert read[0::2] == read[1::2]
    for run_id, frames in zip(run_ids, read[0::2], strict=True):
        assert_whole(frames)
        if run_id in lost:
            assert frames[-1].data["data"]["reason"] == "worker_lost"
        elif frames[-1].event == "run_failed":
            assert frames[-1].data["data"]["reason"] == "worker_lost"
            lost.append(run_id)
        else:
            assert frames[-1].event == "run_succeeded"
    assert len(workers_of(redis_of_servers, lost)) == 1


def failed(client: RunClient, run_ids: list[str]) -> list[str]:
    return [run_id for run_id in run_ids if client.status(run_id)["status"] == "failed"]


def read_on(client: RunClient, run_id: str) -> list[Frame]:
    """Reads all events of a run, over as many connections as it takes."""
    frames: list[Frame] = []

    def has_ended() -> bool:
        try:
            after = frames[-1].id if frames else None
            for frame in RunClient(client.url).stream(run_id, last_event_id=after, timeout=60):
                frames.append(frame)
        except requests.RequestException:
            pass
        return bool(frames) and frames[-1].event.startswith("run_") and frames[-1].event != "run_started"

    wait_until(has_ended, timeout=120)
    return frames
