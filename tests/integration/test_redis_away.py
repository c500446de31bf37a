"""While Redis is away: clear answers, quickly, and no run that stays running with nobody executing it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.conftest import StartServer
from tests.support.client import RunClient, prompt, wait_until
from tests.support.redis_server import RedisServer


@contextmanager
def silent(redis_server: RedisServer) -> Iterator[None]:
    """Redis accepts connections and commands, and answers nothing."""
    redis_server.pause()
    try:
        yield
    finally:
        redis_server.resume()


def test_a_server_without_redis_is_alive_but_not_ready(start_server: StartServer, redis_server: RedisServer) -> None:
    client = RunClient(start_server(redis_prefix="away").url)

    with silent(redis_server):
        ready = client.session.get(f"{client.url}/ready", timeout=30)
        health = client.session.get(f"{client.url}/health", timeout=30)

    assert (ready.status_code, ready.json()["reasons"]) == (503, ["redis_unreachable"])
    assert health.status_code == 200
    assert client.finish(client.create(prompt()))["type"] == "run_succeeded"


def test_a_create_whose_answer_was_lost_leaves_no_run_that_stays_running(
    start_server: StartServer, redis_server: RedisServer
) -> None:
    client = RunClient(start_server(redis_prefix="lost-create").url)

    with silent(redis_server):
        begun = time.monotonic()
        response = client.post({"composition": {"layers": [prompt()]}})
        took = time.monotonic() - begun

    assert response.status_code == 503
    assert response.json()["code"] == "storage_unavailable"
    assert int(response.headers["Retry-After"]) >= 1
    assert took < 15
    redis = redis_server.client()

    def ended() -> bool:
        records = [json.loads(redis.get(key) or b"{}") for key in redis.keys("lost-create:runs:*:record")]
        return bool(records) and all(record["status"] == "failed" for record in records)

    wait_until(ended)
    assert client.finish(client.create(prompt()))["type"] == "run_succeeded"
