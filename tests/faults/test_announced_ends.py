"""Ended runs are announced, and their observers hear of them, whatever is killed meanwhile."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.forking import CHECKOUT
from tests.support.patched import run_scenario, scenarios
from tests.support.redis_cluster import running_cluster
from tests.support.redis_server import RedisServer, running_redis

OBSERVERS = "tests.unit.scenarios.observers"
KILLED, SURVIVING, CLUSTERED = "killed_worker", "surviving_worker", "in_a_cluster_the_ends_of_all_buckets_are_heard_of"
PATIENCE_SECONDS = 180
STEPS = ("ended", "read", "told", "half", "fact", "acknowledged")


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
def url(redis: RedisServer) -> str:
    with redis.client() as client:
        client.flushall()
    return redis.url


@pytest.mark.parametrize(
    "scenario", [name for name in scenarios(OBSERVERS) if name not in (KILLED, SURVIVING, CLUSTERED)]
)
def test_observers(url: str, scenario: str) -> None:
    run_scenario(OBSERVERS, scenario, url, patience=PATIENCE_SECONDS)


@pytest.mark.parametrize("step", STEPS)
def test_an_end_reaches_its_observers_although_a_worker_is_killed_at_any_step(url: str, step: str) -> None:
    command = [sys.executable, "-m", "tests.support.patched", str(PATIENCE_SECONDS), OBSERVERS, KILLED, url, step]
    killed = subprocess.run(
        command, cwd=CHECKOUT, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    run_scenario(OBSERVERS, SURVIVING, url, step, patience=PATIENCE_SECONDS)


def test_observers_of_a_redis_cluster() -> None:
    with running_cluster() as cluster:
        run_scenario(OBSERVERS, CLUSTERED, cluster.url, patience=PATIENCE_SECONDS)
