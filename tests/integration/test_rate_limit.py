"""One rate limit per caller across all workers and servers, also while Redis is away."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest
import requests

from tests.conftest import StartServer, environment
from tests.support.client import wait_until
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.redis_server import running_redis

UNKNOWN_RUN = "/runs/01a1f873-526f-7037-9569-4a9d93eb6d2a"
ADMIN = "admin"
BURST = 4
LIMIT = f"0.001/{BURST}"
"""A rate at which no token comes back within a test."""
CALLERS = count(1)


def ask(server: GunicornServer, caller: str) -> int:
    """Requests a run over a new connection and returns the status. 127.0.0.1 is a trusted proxy by default."""
    headers = {"X-Forwarded-For": caller, "Connection": "close"}
    return requests.get(server.url + UNKNOWN_RUN, headers=headers, timeout=30).status_code


def validate(server: GunicornServer) -> int:
    """Sends a request that needs no Redis and returns the status."""
    headers = {"Authorization": f"Bearer {ADMIN}"}
    body = {"schema": {"type": "object"}, "text": "{}"}
    return server.post("/structured-output/validate", json=body, headers=headers).status_code


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_two_workers_share_one_limit(start_server: StartServer) -> None:
    server = start_server(redis_prefix="rate-workers", workers=2, rate_limit=LIMIT)
    first, second = server.workers()

    with frozen(second):
        by_first = [ask(server, "198.51.100.1") for _ in range(BURST - 1)]
    with frozen(first):
        by_second = [ask(server, "198.51.100.1") for _ in range(3)]
        of_another = ask(server, "198.51.100.2")

    assert by_first == [404] * (BURST - 1)
    assert by_second == [404, 429, 429]
    assert of_another == 404


def test_two_servers_share_one_limit_and_another_prefix_has_its_own(start_server: StartServer) -> None:
    one, two = (start_server(redis_prefix="rate-servers", rate_limit=LIMIT) for _ in range(2))
    other = start_server(redis_prefix="rate-other", rate_limit=LIMIT)

    shared = [ask((one, two)[number % 2], "198.51.100.1") for number in range(BURST + 2)]

    assert shared == [404] * BURST + [429] * 2
    assert ask(other, "198.51.100.1") == 404


@pytest.mark.parametrize("trouble", ["kill", "pause"])
def test_a_worker_whose_redis_is_away_counts_by_itself(trouble: str) -> None:
    with running_redis() as redis:
        env = environment(redis.url, "http://127.0.0.1:9", rate_limit=LIMIT, admin_token=ADMIN)
        with running_server(env) as one, running_server(env) as two:
            assert validate(one) == 200

            getattr(redis, trouble)()
            alone = [[validate(server) for _ in range(BURST + 1)] for server in (one, two)]
            if trouble == "kill":
                redis.restart()
            else:
                redis.resume()

            wait_until(lambda: take_of_both(one, two))
            logs = one.log, two.log

    assert alone == [[200] * (BURST - 1) + [429] * 2, [200] * BURST + [429]]
    for log in logs:
        assert log.count("each worker counts by itself") == 1
        assert log.count("counted across all workers again") == 1
        assert "Traceback" not in log


def take_of_both(one: GunicornServer, two: GunicornServer) -> bool:
    """Whether both share the limit of a new caller."""
    caller = f"198.51.100.{next(CALLERS)}"
    taken = [ask(server, caller) for server in (one, two) for _ in range(BURST)]
    return taken == [404] * BURST + [429] * BURST
