"""Workers that are replaced while runs start and hundreds of streams are open: no run or event is lost."""

from __future__ import annotations

import os
import signal
import time

from tests.conftest import environment
from tests.support.client import wait_until
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_server import RedisServer
from tests.support.steady_load import Shape, SteadyLoad

EXIT_MARGIN_SECONDS = 4.0
BUSY_SECONDS = 3.0
"""What a busy machine adds to a bound."""

GRACE_SECONDS = 60
"""Much longer than a run takes, even on a busy machine."""
CHECK_SECONDS = 180
STREAMS = 150


def wait_until_replaced(server: GunicornServer, old: list[int]) -> None:
    """Waits until none of these workers runs any more, and as many others do."""
    wait_until(lambda: not set(old) & set(now := server.workers()) and len(now) == 2, timeout=90)


def assert_nothing_was_lost(load: SteadyLoad) -> None:
    assert load.violations == []
    assert load.accepted == {}


def test_reloads_and_the_ends_of_a_worker_and_of_the_server_lose_nothing(
    redis_server: RedisServer, daemon: ScriptedDaemon
) -> None:
    env = environment(redis_server.url, daemon.url, redis_prefix="rolling", shutdown_grace_seconds=GRACE_SECONDS)
    with (
        running_server(env, workers=2, cold=True) as server,
        running_server(env, workers=1) as after,
        SteadyLoad(server.url, Shape()) as load,
    ):
        wait_until(lambda: load.open_streams > STREAMS, timeout=90)
        for _ in range(2):
            old = server.workers()
            server.send_signal(signal.SIGHUP)
            wait_until_replaced(server, old)
        ended = server.workers()[0]
        os.kill(ended, signal.SIGTERM)
        wait_until(lambda: ended not in (now := server.workers()) and len(now) == 2, timeout=90)
        wait_until(lambda: load.open_streams > STREAMS, timeout=90)
        assert (load.failures, load.refusals, load.cuts) == ([], [], 0)

        ending_at = time.monotonic()
        server.send_signal(signal.SIGTERM)
        wait_until(lambda: load.failures, timeout=GRACE_SECONDS)  # no new connections are accepted
        load.stop_starting()
        assert server.wait() == 0
        took = time.monotonic() - ending_at
        load.url = after.url
        load.wait_until_checked(timeout=CHECK_SECONDS)

    assert took < GRACE_SECONDS / 2
    assert_nothing_was_lost(load)
    assert set(load.ends) == {"run_succeeded"}
    assert load.cuts == 0


def test_workers_that_are_recycled_and_runs_that_outlast_the_grace_lose_nothing(
    redis_server: RedisServer, daemon: ScriptedDaemon
) -> None:
    grace = 4
    env = environment(redis_server.url, daemon.url, redis_prefix="recycled", shutdown_grace_seconds=GRACE_SECONDS)
    recycling = {**env, "GUNICORN_CMD_ARGS": "--max-requests 200 --max-requests-jitter 100"}
    with (
        running_server(recycling, workers=2, cold=True) as server,
        SteadyLoad(server.url, Shape(words=10)) as load,
    ):
        wait_until(lambda: server.log.count("Booting worker") >= 5, timeout=180)
        load.stop_starting()
        load.wait_until_checked(timeout=CHECK_SECONDS)
    assert_nothing_was_lost(load)
    assert (load.failures, load.refusals, load.cuts) == ([], [], 0)
    assert set(load.ends) == {"run_succeeded"}

    ending = environment(redis_server.url, daemon.url, redis_prefix="recycled", shutdown_grace_seconds=grace)
    with (
        running_server(ending, workers=2) as server,
        running_server(ending, workers=1) as after,
        SteadyLoad(server.url, Shape(words=3_000, most_runs=1_000)) as load,
    ):
        wait_until(lambda: load.open_streams > STREAMS, timeout=90)
        ending_at = time.monotonic()
        server.send_signal(signal.SIGTERM)
        wait_until(lambda: load.failures, timeout=30)
        load.stop_starting()
        assert server.wait() == 0
        took = time.monotonic() - ending_at
        load.url = after.url
        load.wait_until_checked(timeout=CHECK_SECONDS)

    assert took < grace + EXIT_MARGIN_SECONDS + BUSY_SECONDS
    assert_nothing_was_lost(load)
    assert set(load.ends) == {"run_failed shutdown"}
